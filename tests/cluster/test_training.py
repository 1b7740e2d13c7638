"""The real trainer in pods of the real Training Operator: two workers that find each other by its TF_CONFIG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperflow import datasets, volume
from hyperflow.engines.local import processes
from hyperflow.specs import Trainer, TrainSpec
from tests.cluster.world import World

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

SMALL = Path(__file__).parents[1] / "data" / "fashion-mnist-small"


@pytest.fixture(scope="module", autouse=True)
def warm() -> Iterator[None]:
    """Import TensorFlow once for both workers, and let go of it when the pods have ended."""
    with processes.launcher():
        yield


def test_two_workers_train_one_model(world: World) -> None:
    spec = TrainSpec(
        run_id="run-1",
        data_path=str(datasets.load(str(SMALL), "small").path),
        model_path=str(volume.model_path("mnist", "run-1") / "1"),
        trainer=Trainer(("python", "-m", "hyperflow.fashion.train"), {"model": "mlp"}, "trainer:1"),
        epochs=1,
        workers=2,
        timeout=200,
    )
    result = world.engine.train(spec)
    ran = {pod for pod, _ in world.parts.kubelet.logs.of(world.namespace)}  # the operator deletes some at the end
    assert ran == {"train-run-1-chief-0", "train-run-1-worker-0"}
    assert (world.volume / "models" / "mnist" / "run-1" / "1" / "saved_model.pb").exists()
    assert 0.3 < result.metrics["test-accuracy"] <= 1
