"""The step that tests a deployed model, as KFP runs it on a cluster: once, and again where it has failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hyperflow import datasets
from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.engines.kubeflow.manifests import KServe, inference_service
from hyperflow.errors import JobFailed, Unavailable
from hyperflow.parameters import Parameters
from hyperflow.specs import Endpoint
from hyperflow.steps import Step, deploy
from hyperflow.steps import predict as predict_step
from hyperflow.tracking import versions
from hyperflow.volume import notices, records
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.hand import wait_for
from tests.kubeflow.kserve import DEPLOYMENTS, SERVICES
from tests.kubeflow.specs import model, serving
from tests.kubeflow.world import NAMESPACE, kubeconfig
from tests.tracking.mlflow import serving as served
from tests.tracking.registry import ModelRegistry

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


def predict(endpoint: Endpoint, tmp_path: Path, floor: float = 0.9) -> None:
    """Run the step, which wants more images read right than such a model can."""
    parameters = Parameters(model_name="m", smoke_instances=20, smoke_accuracy_floor=floor, smoke_p99_ms=1000.0)
    dataset = datasets.load(str(SMALL), "small")
    step = Step("predict", endpoint.model.run_id)
    predict_step.run(step, parameters, endpoint, dataset.path, str(tmp_path / "page"))


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


def test_retry_after_the_promotion_asks_where_the_model_is_now(engine: KubeflowEngine, tmp_path: Path) -> None:
    """A canary's own address goes with its promotion, but the retried step is given it again."""
    engine.serve(serving())
    gone = replace(engine.serve(serving(run_id="run-2", model=model("run-2"))), url="http://127.0.0.1:1")
    predict(gone, tmp_path, floor=0)
    now = engine.serving("m")
    assert now is not None
    assert now.model == model("run-2")


def test_model_of_a_killed_deployment_is_neither_served_nor_gone_back_to(
    emulator: Emulator, engine: KubeflowEngine, root: Path
) -> None:
    (root / "models" / "m" / "run-2" / "1" / "saved_model.pb").write_bytes(b"broken")
    engine.serve(serving())
    live = emulator.store.get(SERVICES, NAMESPACE, "m")
    killed = inference_service(serving(run_id="run-2", model=model("run-2")), KServe(), live)
    emulator.store.replace(SERVICES, NAMESPACE, killed)  # the step that did this is gone
    wait_for(lambda: emulator.store.get(DEPLOYMENTS, NAMESPACE, "m-predictor")["status"]["replicas"] == 2)
    now = engine.serving("m")
    assert now is not None
    assert now.model == model("run-1")
    third = engine.serve(serving(run_id="run-3", model=model("run-3")))
    assert third.previous == model("run-1")
    assert engine.restore("m").model == model("run-1")


def test_predictor_logs_into_a_folder_that_the_step_has_made(
    emulator: Emulator, engine: KubeflowEngine, root: Path
) -> None:
    """One that the kubelet makes for a mount is root's, and the predictor could not write into it."""
    parameters = Parameters.complete({"model_name": "m", "log_payloads": "kept/payloads", "serving_image": "p:1"})
    deploy.run(Step("deploy", "run-1"), parameters, model())
    assert (root / "kept" / "payloads").is_dir()
    predictor = emulator.store.get(SERVICES, NAMESPACE, "m")["spec"]["predictor"]
    assert predictor["model"]["args"] == ["--log_payloads=/mnt/hyperflow/kept/payloads"]
    assert predictor["model"]["volumeMounts"][-1]["subPath"] == "kept/payloads"


def test_nothing_is_deployed_where_the_token_cannot_be_read(
    emulator: Emulator, engine: KubeflowEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.serve(serving())
    before = emulator.store.get(SERVICES, NAMESPACE, "m")
    monkeypatch.setenv("HYPERFLOW_TOKEN", "@/nonexistent")
    with pytest.raises(Unavailable, match="HYPERFLOW_TOKEN"):
        deploy.run(Step("deploy", "run-2"), Parameters.complete({"model_name": "m"}), model("run-2"))
    assert emulator.store.get(SERVICES, NAMESPACE, "m") == before


def deploys(run_id: str, registry: str) -> Step:
    step = Step("deploy", run_id)
    records.write(run_id, records.Asked(values={"model_registry": registry}))
    deploy.run(step, Parameters.complete({"model_name": "m"}), model(run_id))
    return step


def labels(emulator: Emulator) -> dict[str, str]:
    held = emulator.store.get(SERVICES, NAMESPACE, "m")["metadata"]["labels"]
    return {name: text for name, text in held.items() if name.startswith(versions.LABEL)}


def test_service_names_its_version_in_the_registry(
    emulator: Emulator, engine: KubeflowEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(ModelRegistry()) as registry:
        kept = deploys("run-1", registry.url).record
        (first,) = registry.held["versions"].values()
        assert labels(emulator)[f"{versions.LABEL}model-version-id"] == first["id"]
        (artifact,) = registry.held["artifacts"].values()
        assert isinstance(kept, records.Deploy)
        assert kept.uri == artifact["uri"] == "pvc://hyperflow/models/m/run-1"
        predict(kept.endpoint, tmp_path, floor=0)
        second = deploys("run-2", registry.url).record
        assert isinstance(second, records.Deploy)
        assert labels(emulator)[f"{versions.LABEL}model-version-id"] != first["id"]
        with pytest.raises(JobFailed, match="is served again"):
            predict(second.endpoint, tmp_path)
        assert labels(emulator)[f"{versions.LABEL}model-version-id"] == first["id"]
        assert "warning" not in capsys.readouterr().err


def test_registry_that_does_not_do_keeps_no_model_from_being_served(
    emulator: Emulator, engine: KubeflowEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    deploys("run-1", "http://127.0.0.1:9")
    assert "does not name its version in the Model Registry: the Model Registry" in capsys.readouterr().err
    assert not labels(emulator)
    assert len(notices.all_of("run-1")) == 1
    before = emulator.store.get(SERVICES, NAMESPACE, "m")
    with served(ModelRegistry()) as registry:
        deploys("run-1", registry.url)
    assert emulator.store.get(SERVICES, NAMESPACE, "m") == before, "a retry goes on with what is there"
    assert not notices.all_of("run-1")
