"""The step that tests a deployed model, as KFP runs it on a cluster: once, and again where it has failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperflow import data, release
from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.errors import JobFailed
from hyperflow.parameters import Parameters
from hyperflow.specs import Endpoint
from hyperflow.steps import Step
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.kserve import SERVICES
from tests.kubeflow.specs import model, serving
from tests.kubeflow.world import NAMESPACE, kubeconfig

SMALL = Path(__file__).parents[1] / "data" / "fashion-mnist-small"


@pytest.fixture(autouse=True)
def cluster(emulator: Emulator, operators: None, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have steps find the emulated cluster, and models that give every class the same probability."""
    monkeypatch.setenv("HYPERFLOW_ENGINE", "kubeflow")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(emulator, tmp_path)))
    for run_id in ("run-1", "run-2", "run-3"):
        folder = root / "models" / "m" / run_id / "1"
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"a model")


def predict(endpoint: Endpoint, tmp_path: Path) -> None:
    """Run the step, which wants more images read right than such a model can."""
    parameters = Parameters(model_name="m", smoke_instances=20, smoke_accuracy_floor=0.9)
    dataset = data.load(str(SMALL), "small")
    release.predict(
        Step("predict", endpoint.model.run_id, {}), parameters, endpoint, dataset.path, str(tmp_path / "page")
    )


def test_retry_of_a_failed_test_does_not_pass_on_the_previous_model(engine: KubeflowEngine, tmp_path: Path) -> None:
    """KFP runs a failed step again: it must neither test what it has put back, nor go back once more."""
    for run_id in ("run-1", "run-2"):
        engine.serve(serving(run_id=run_id, model=model(run_id)))
    endpoint = engine.serve(serving(run_id="run-3", model=model("run-3")))
    with pytest.raises(JobFailed, match=r"too few images right; the previous model \(.*run-2\) is served again"):
        predict(endpoint, tmp_path)
    with pytest.raises(JobFailed, match=r"no longer deployed(.|\n)*has taken it back: (.|\n)*too few images right"):
        predict(endpoint, tmp_path)
    now = engine.serving("m")
    assert now is not None
    assert now.model == model("run-2")


def test_first_deployment_that_fails_its_test_is_left_marked(
    emulator: Emulator, engine: KubeflowEngine, tmp_path: Path
) -> None:
    endpoint = engine.serve(serving())
    for said in ("nothing could be put back", "no longer deployed"):
        with pytest.raises(JobFailed, match=said):
            predict(endpoint, tmp_path)
    item = emulator.store.get(SERVICES, NAMESPACE, "m")
    assert item["metadata"]["annotations"]["hyperflow.dev/failed"] == "it failed its test"
    assert engine.serving("m") is None
