"""Trainings and searches by the real Job controller, Kubeflow Trainer and JobSet, with the real trainer in the pods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperflow import datasets, volume
from hyperflow.engines.kubeflow import backends, probes, tuners
from hyperflow.engines.kubeflow.resources import EXPERIMENT, TFJOB, TRAINJOB
from hyperflow.engines.local import processes
from hyperflow.specs import Trainer, TrainSpec
from tests.cluster.world import KATIB, TRAINER, World, need, without_katib
from tests.kubeflow.specs import training, tuning

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

SMALL = Path(__file__).parents[1] / "data" / "fashion-mnist-small"
DIGEST = re.compile(r"weights-digest: (\S+)")


@pytest.fixture(scope="module")
def warm() -> Iterator[None]:
    """Import TensorFlow once for both workers, and let go of it when the pods have ended."""
    with processes.launcher():
        yield


def real(**changes: Any) -> TrainSpec:
    fields: dict[str, Any] = {
        "run_id": "run-1",
        "data_path": str(datasets.load(str(SMALL), "small").path),
        "model_path": str(volume.model_path("mnist", "run-1") / "1"),
        "trainer": Trainer(("python", "-m", "hyperflow.fashion.train"), {"model": "mlp"}, "trainer:1"),
        "epochs": 1,
        "workers": 2,
        "timeout": 200,
    }
    return TrainSpec(**{**fields, **changes})


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("backend", ["tfjob", "trainjob", "job"])
def test_two_workers_end_with_the_same_weights(world: World, backend: str) -> None:
    if backend == "trainjob":
        need(*TRAINER)
    result = world.engine.train(real(training_backend=backend))
    assert 0.3 < result.metrics["test-accuracy"] <= 1
    assert (world.volume / "models" / "mnist" / "run-1" / "1" / "saved_model.pb").exists()
    logs = [log.lines for log in world.parts.kubelet.logs.of(world.namespace).values()]
    found = [match[1] for lines in logs for line in lines if (match := DIGEST.search(line))]
    assert len(found) == 2
    assert len(set(found)) == 1


def test_operators_that_are_there_answer(world: World) -> None:
    need(*TRAINER)
    for resource in (TFJOB, TRAINJOB):
        sign = probes.sign_of_life(world.engine.cluster, resource)
        assert sign.alive, sign.text
    assert world.items("tfjobs") == world.items("trainjobs") == []


def test_operator_that_is_not_there_does_not_answer(world: World) -> None:
    """Katib's kinds stay when Katib goes."""
    with without_katib():
        assert not probes.sign_of_life(world.engine.cluster, EXPERIMENT).alive
        assert tuners.choose(world.engine.cluster, tuning(tuner="auto")).tuner == "job"
    need(*KATIB)
    assert probes.sign_of_life(world.engine.cluster, EXPERIMENT).alive
    assert tuners.choose(world.engine.cluster, tuning(tuner="auto")).tuner == "katib"
    assert backends.choose(world.engine.cluster, training(training_backend="auto")).backend.name == "tfjob"
