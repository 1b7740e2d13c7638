"""How a service scales: written into it as KServe's mode can, and refused before anything is made where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.errors import Unavailable
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.kserve import SERVICES
from tests.kubeflow.specs import model, serving, training, tuning
from tests.kubeflow.test_canary import save
from tests.kubeflow.world import NAMESPACE, install

FIELDS = {
    "min_replicas": "minReplicas", "max_replicas": "maxReplicas", "scale_metric": "scaleMetric",
    "scale_target": "scaleTarget",
}  # fmt: skip
SCALED = {
    "Knative": {"min_replicas": 0, "max_replicas": 3, "scale_metric": "concurrency", "scale_target": 4},
    "Standard": {"min_replicas": 1, "max_replicas": 3, "scale_metric": "cpu", "scale_target": 60},
}


@pytest.fixture(params=SCALED)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HYPERFLOW_DEPLOYMENT_MODE", request.param)
    return str(request.param)


def test_scaling_that_the_mode_has_reaches_the_service(
    emulator: Emulator, engine: KubeflowEngine, operators: None, root: Path, mode: str
) -> None:
    save(root, "run-1")
    engine.serve(serving(**SCALED[mode]))
    assert scaling(emulator) == SCALED[mode]


def test_promoted_canary_scales_by_its_own_parameters_and_the_restored_model_by_its_own(
    emulator: Emulator, engine: KubeflowEngine, operators: None, root: Path, mode: str
) -> None:
    other = {**SCALED[mode], "max_replicas": 5, "scale_target": 20}
    for run_id in ("run-1", "run-2", "run-3"):
        save(root, run_id)
    engine.serve(serving(**SCALED[mode]))
    engine.serve(serving(run_id="run-2", model=model("run-2"), canary_percent=10, **other))
    engine.promote("m")
    assert scaling(emulator) == other
    engine.serve(serving(run_id="run-3", model=model("run-3"), canary_percent=10, **SCALED[mode]))
    engine.restore("m")
    assert scaling(emulator) == other


@pytest.mark.parametrize(
    ("mode", "change", "named"),
    [
        ("Standard", {"min_replicas": 0}, "min_replicas"),
        ("Standard", {"scale_metric": "rps"}, "scale_metric"),
        ("Standard", {"scale_metric": "memory"}, "scale_target"),
        ("Standard", {"scale_target": 150}, "scale_target"),
        ("Knative", {"scale_metric": "cpu"}, "scale_metric"),
    ],
    indirect=["mode"],
)
def test_scaling_that_the_mode_has_not_is_refused_before_anything_is_made(
    emulator: Emulator, engine: KubeflowEngine, mode: str, change: dict[str, Any], named: str
) -> None:
    install(emulator)
    wrong = serving(**change)
    for refused in (lambda: engine.check(tuning(), training(), wrong), lambda: engine.serve(wrong)):
        with pytest.raises(Unavailable, match=rf"KServe's mode: parameter '{named}' cannot be (.|\n)*remedy: give"):
            refused()
    assert emulator.store.select(SERVICES, NAMESPACE)[0] == []


def scaling(emulator: Emulator) -> dict[str, Any]:
    """Return how the service scales, in our words."""
    predictor = emulator.store.get(SERVICES, NAMESPACE, "m")["spec"]["predictor"]
    return {ours: predictor[theirs] for ours, theirs in FIELDS.items() if theirs in predictor}
