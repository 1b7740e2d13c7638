"""Canaries in both of KServe's modes: served beside the stable model, promoted, or taken back."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.errors import InvalidParameter, JobFailed
from hyperflow.specs import Endpoint
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.kserve import SERVICES
from tests.kubeflow.specs import model, serving
from tests.kubeflow.world import NAMESPACE


@pytest.fixture(params=["Knative", "Standard"])
def canary(
    request: pytest.FixtureRequest,
    engine: KubeflowEngine,
    operators: None,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Endpoint:
    """Serve one model, then another as a canary."""
    monkeypatch.setenv("HYPERFLOW_DEPLOYMENT_MODE", request.param)
    for run_id in ("run-1", "run-2"):
        folder = root / "models" / "m" / run_id / "1"
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"a model")
    first = engine.serve(serving(canary_percent=10))
    assert answering(first) == "run-1"  # the first one gets all requests, whatever was asked for
    return engine.serve(serving(run_id="run-2", model=model("run-2"), canary_percent=10))


def answering(endpoint: Endpoint) -> str:
    """Return the run whose model answers the step."""
    return model_at(endpoint.url, endpoint.name)


def answering_users(emulator: Emulator) -> str:
    """Return the run whose model the service's users meet."""
    return model_at(emulator.store.get(SERVICES, NAMESPACE, "m")["status"]["url"], "m")


def model_at(url: str, name: str) -> str:
    with urllib.request.urlopen(f"{url}/v1/models/{name}", timeout=10) as response:
        return Path(json.load(response)["folder"]).name


def test_canary_is_beside_the_stable_model(emulator: Emulator, canary: Endpoint) -> None:
    assert canary.model == model("run-2")
    assert canary.previous == model("run-1")
    assert answering_users(emulator) == "run-1"


def test_knative_canary_is_asked_at_its_own_address(emulator: Emulator, canary: Endpoint) -> None:
    """Elsewhere a smoke test would meet the stable model for most of its requests, and pass."""
    item = emulator.store.get(SERVICES, NAMESPACE, "m")
    is_knative = item["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"
    assert answering(canary) == ("run-2" if is_knative else "run-1")


def test_promoted_canary_gets_all_requests(emulator: Emulator, engine: KubeflowEngine, canary: Endpoint) -> None:
    promoted = engine.promote("m")
    assert promoted.model == model("run-2")
    before = emulator.store.get(SERVICES, NAMESPACE, "m")
    assert promoted.url == before["status"]["url"]
    assert answering(promoted) == "run-2"
    assert engine.promote("m") == promoted
    assert emulator.store.get(SERVICES, NAMESPACE, "m") == before


def test_canary_that_is_taken_back_leaves_the_stable_model(
    emulator: Emulator, engine: KubeflowEngine, canary: Endpoint
) -> None:
    back = engine.restore("m")
    assert back.model == model("run-1")
    assert back.url == emulator.store.get(SERVICES, NAMESPACE, "m")["status"]["url"]
    assert answering(back) == "run-1"


def test_mode_that_kserve_does_not_have_is_refused(engine: KubeflowEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERFLOW_DEPLOYMENT_MODE", "ModelMesh")
    with pytest.raises(InvalidParameter, match="Knative or Standard"):
        engine.serve(serving())


def test_service_that_is_not_there_cannot_be_promoted(engine: KubeflowEngine) -> None:
    with pytest.raises(JobFailed, match="there is no service"):
        engine.promote("m")
