"""Canaries in both of KServe's modes: served beside the stable model, promoted, or taken back."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.errors import InvalidParameter, JobFailed
from hyperflow.specs import Endpoint, ModelRef
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.hand import started, wait_for
from tests.kubeflow.kserve import DEPLOYMENTS, SERVICES
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
        save(root, run_id)
    first = engine.serve(serving(canary_percent=10, min_replicas=2, max_replicas=2))
    assert answering(first) == "run-1"  # the first one gets all requests, whatever was asked for
    return engine.serve(serving(run_id="run-2", model=model("run-2"), canary_percent=10))


def save(root: Path, run_id: str, content: bytes = b"a model") -> None:
    folder = root / "models" / "m" / run_id / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(content)


def broken(root: Path, run_id: str) -> ModelRef:
    save(root, run_id, b"broken")
    return model(run_id)


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


@pytest.mark.parametrize("canary", ["Knative"], indirect=True)
@pytest.mark.parametrize("attempt", ["restore", "serve"])
def test_knative_rollback_never_sends_users_to_the_candidate(
    emulator: Emulator, engine: KubeflowEngine, canary: Endpoint, root: Path, attempt: str
) -> None:
    """The candidate stays the newest revision that is ready until the restored one is; here that takes a while."""
    hold = root / "models" / "m" / "run-1" / "hold"
    hold.touch()

    def roll_back() -> None:
        if attempt == "restore":
            engine.restore("m")
        else:
            with pytest.raises(JobFailed, match=r"the previous model .*run-1.* stays"):
                engine.serve(serving(run_id="run-3", model=broken(root, "run-3"), canary_percent=10))

    with started(roll_back) as back:
        wait_for(lambda: created_revision(emulator) in ("m-3", "m-4") and share_of_newest(emulator) == 0)
        met = {answering_users(emulator) for _ in range(20)}
        assert met == {"run-1"}
        assert not back.done()
        hold.unlink()
        back.result(30)
    item = emulator.store.get(SERVICES, NAMESPACE, "m")
    assert "canaryTrafficPercent" not in item["spec"]["predictor"]
    assert item["status"]["components"]["predictor"]["latestRolledoutRevision"] == created_revision(emulator)
    assert {answering_users(emulator) for _ in range(20)} == {"run-1"}


@pytest.mark.parametrize("canary", ["Standard"], indirect=True)
def test_standard_canary_leaves_the_stable_model_its_replicas(emulator: Emulator, canary: Endpoint) -> None:
    replicas = {
        name: emulator.store.get(DEPLOYMENTS, NAMESPACE, name)["spec"]["replicas"]
        for name in ("m-predictor", f"m-{canary_name(emulator)}-predictor")
    }
    assert list(replicas.values()) == [2, 1]


@pytest.mark.parametrize("canary", ["Standard"], indirect=True)
@pytest.mark.parametrize("splits", [False, True], ids=["KServe 0.20.0", "KServe with weights"])
def test_users_get_no_error_while_a_standard_canary_comes_up(
    emulator: Emulator, engine: KubeflowEngine, canary: Endpoint, root: Path, splits: bool
) -> None:
    """KServe, where it splits requests, sends a canary its share before it can answer (kserve#5983)."""
    emulator.kserve_splits = splits
    engine.promote("m")
    save(root, "run-3")
    hold = root / "models" / "m" / "run-3" / "hold"
    hold.touch()
    with started(lambda: engine.serve(serving(run_id="run-3", model=model("run-3"), canary_percent=50))) as serve:
        wait_for(lambda: emulator.store.get(SERVICES, NAMESPACE, "m")["status"]["canaryStatuses"])
        assert {answering_users(emulator) for _ in range(20)} == {"run-2"}
        assert not serve.done()
        hold.unlink()
        serve.result(30)
    wait_for(lambda: emulator.store.get(SERVICES, NAMESPACE, "m")["status"]["canaryStatuses"][0]["trafficPercent"])
    wanted = {"run-2", "run-3"} if splits else {"run-2"}
    wait_for(lambda: {answering_users(emulator) for _ in range(4)} == wanted)


def created_revision(emulator: Emulator) -> str:
    predictor = emulator.store.get(SERVICES, NAMESPACE, "m")["status"]["components"]["predictor"]
    return str(predictor["latestCreatedRevision"])


def share_of_newest(emulator: Emulator) -> int:
    predictor = emulator.store.get(SERVICES, NAMESPACE, "m")["status"]["components"]["predictor"]
    return int(predictor["traffic"][0]["percent"])


def canary_name(emulator: Emulator) -> str:
    return str(emulator.store.get(SERVICES, NAMESPACE, "m")["spec"]["canary"][0]["predictor"]["name"])


def test_mode_that_kserve_does_not_have_is_refused(engine: KubeflowEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERFLOW_DEPLOYMENT_MODE", "ModelMesh")
    with pytest.raises(InvalidParameter, match="Knative or Standard"):
        engine.serve(serving())


def test_service_that_is_not_there_cannot_be_promoted(engine: KubeflowEngine) -> None:
    with pytest.raises(JobFailed, match="there is no service"):
        engine.promote("m")
