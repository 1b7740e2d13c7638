"""What surrounds the jobs goes wrong: a peer is lost, nobody acts on a job, a canary does not come up.

Where only one sort of cluster can be brought into a state, the test names it; the others run on every engine.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperflow import volume
from hyperflow.engines import Engine
from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.errors import JobFailed, JobTimeout
from hyperflow.specs import ModelRef, ServeSpec, Trainer, TrainSpec
from tests.cluster.world import KSERVE, OPERATOR, World, cluster_world, need
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.store import Object
from tests.kubeflow.world import engine_on, prepare

PEERS = str(Path(__file__).parents[1] / "trainers" / "peers.py")
LINE = str(Path(__file__).parents[1] / "trainers" / "line.py")


def training(program: str, **changes: Any) -> TrainSpec:
    fields: dict[str, Any] = {
        "run_id": "run-1",
        "data_path": str(volume.root()),
        "model_path": str(volume.model_path("line", "run-1") / "1"),
        "trainer": Trainer((sys.executable, program), {}, "trainer:1"),
        "timeout": 90,
    }
    return TrainSpec(**{**fields, **changes})


def test_peers_of_a_lost_worker_are_not_counted(engine: Engine, tmp_path: Path) -> None:
    """Three processes end because of one loss, and one retry is all that the training has."""
    trainer = Trainer((sys.executable, PEERS), {"folder": str(tmp_path)}, "trainer:1")
    result = engine.train(training(PEERS, trainer=trainer, workers=3, retries=1))
    assert (Path(result.model_path) / "saved_model.pb").exists()


@pytest.fixture(params=["emulated", pytest.param("real", marks=pytest.mark.cluster)])
def without_operator(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KubeflowEngine]:
    """Give an engine on a cluster that has TFJobs and nobody who acts on them."""
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path / "volume"))
    (tmp_path / "volume").mkdir()
    if request.param == "emulated":
        with Emulator() as emulator:
            prepare(emulator)
            yield KubeflowEngine(cluster=engine_on(emulator, tmp_path).cluster, act_seconds=2)
        return
    with cluster_world(tmp_path) as world:
        operator, webhooks = world.parts.cluster.servers[OPERATOR], _webhooks(world)
        operator.stop()
        for path in webhooks:
            world.api.delete(path)
        try:
            yield KubeflowEngine(cluster=world.engine.cluster, act_seconds=5)
        finally:
            operator.start()
            for path, item in webhooks.items():
                world.api.create(path.rpartition("/")[0], item)


def _webhooks(world: World) -> dict[str, Object]:
    """Return what would refuse a TFJob without the operator, by path, as it was made."""
    folder = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    return {
        f"{folder}/{item['metadata']['name']}": {**item, "metadata": {"name": item["metadata"]["name"]}}
        for item in world.api.get(folder)["items"]
        if any("tfjobs" in rule["resources"] for hook in item["webhooks"] for rule in hook["rules"])
    }


def test_job_that_nobody_acts_on_fails_before_its_time_limit(without_operator: KubeflowEngine) -> None:
    with pytest.raises(JobFailed, match=r"nothing acts on TFJob(.|\n)*Training Operator") as raised:
        without_operator.train(training(LINE, training_backend="tfjob"))
    assert not isinstance(raised.value, JobTimeout)


@pytest.mark.cluster
@pytest.mark.timeout(240)
def test_users_meet_the_stable_model_while_a_canary_does_not_come_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    """The real KServe in Standard mode; two replicas, which a canary must not take away from the users."""
    need(KSERVE)
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path / "volume"))
    (tmp_path / "volume").mkdir()
    for run_id in ("good", "other", "bad"):
        with volume.staged(volume.model_path("m", run_id)) as folder:
            if run_id == "bad":
                (folder / "1").mkdir()
                (folder / "1" / "saved_model.pb").write_bytes(b"broken")
            else:
                (folder / "1").symlink_to(trained / "1")
    with cluster_world(tmp_path) as world:

        def serve(run_id: str, percent: int) -> str:
            served = ModelRef(str(volume.model_path("m", run_id)), run_id)
            spec = ServeSpec(
                run_id, "m", served, image="predictor:1", min_replicas=2, max_replicas=2, canary_percent=percent,
                timeout=120,
            )  # fmt: skip
            return world.engine.serve(spec).url

        url = serve("good", 100)
        serve("other", 50)
        (replicas,) = {item["spec"]["minReplicas"] for item in autoscalers(world) if _is_stable(item)}
        assert replicas == 2
        world.engine.restore("m")
        with pytest.raises(JobFailed, match=r"the previous model .* stays"):
            serve("bad", 50)
        for _ in range(10):
            with urllib.request.urlopen(f"{url}/v1/models/m", timeout=10) as reply:
                assert reply.status == 200
            time.sleep(0.05)


def autoscalers(world: World) -> list[Object]:
    path = f"/apis/autoscaling/v2/namespaces/{world.namespace}/horizontalpodautoscalers"
    found: list[Object] = world.api.get(path)["items"]
    return found


def _is_stable(item: Object) -> bool:
    return bool(item["metadata"]["name"] == "m-predictor")
