"""How a service scales on the real KServe in Standard mode: the autoscaler that its controller makes of our service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.engines.local import processes
from hyperflow.specs import ModelRef, ServeSpec
from tests.cluster.check import wait_for
from tests.cluster.world import KSERVE, World, need
from tests.kubeflow.store import Object

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def warm() -> Iterator[None]:
    need(KSERVE)
    with processes.launcher():
        yield


def test_autoscaler_has_metric_target_and_bounds(world: World, trained: Path) -> None:
    def serve(run_id: str, least: int, most: int, metric: str, target: int, percent: int = 100) -> None:
        served = ModelRef(str(volume.model_path("m", run_id)), run_id)
        world.engine.serve(ServeSpec(
            run_id, "m", served, image="predictor:1", min_replicas=least, max_replicas=most, scale_metric=metric,
            scale_target=target, canary_percent=percent, timeout=120,
        ))  # fmt: skip

    for run_id in ("one", "two", "three"):
        with volume.staged(volume.model_path("m", run_id)) as folder:
            (folder / "1").symlink_to(trained / "1")
    serve("one", 1, 3, "cpu", 55)
    wait_for(lambda: autoscaling(world) == (1, 3, [("cpu", 55)]), "the autoscaler of the first model", 20)
    serve("two", 1, 4, "memory", 70)
    wait_for(lambda: autoscaling(world) == (1, 4, [("memory", 70)]), "the autoscaler of the second model", 20)
    serve("three", 1, 2, "", 0, percent=50)
    assert autoscaling(world) == (1, 5, [("memory", 70)])  # of two at least, KServe takes one off for the canary
    world.engine.promote("m")
    wait_for(lambda: autoscaling(world) == (1, 2, [("cpu", 80)]), "the autoscaler as KServe makes it by itself", 20)


def autoscaling(world: World) -> tuple[int, int, list[tuple[str, int]]]:
    """Return the least and most replicas of the service, and each metric's name and percent of what pods ask for."""
    path = f"/apis/autoscaling/v2/namespaces/{world.namespace}/horizontalpodautoscalers/m-predictor"
    spec: Object = world.api.get(path)["spec"]
    metrics = [each["resource"] for each in spec["metrics"]]
    assert all(each["target"]["type"] == "Utilization" for each in metrics)
    found = [(each["name"], each["target"]["averageUtilization"]) for each in metrics]
    return spec["minReplicas"], spec["maxReplicas"], found
