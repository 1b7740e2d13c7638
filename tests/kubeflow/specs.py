"""Specs that the tests of this folder share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hyperflow.specs import Algorithm, Compute, Dimension, ModelRef, ServeSpec, Trainer, TrainSpec, TuneSpec
from hyperflow.volume import MOUNT_PATH

LINE = str(Path(__file__).parents[1] / "trainers" / "line.py")
DATA = f"{MOUNT_PATH}/data/fashion-mnist/abc123"


def trainer(**arguments: object) -> Trainer:
    return Trainer((sys.executable, LINE), {name: str(value) for name, value in arguments.items()}, "trainer:1")


def tuning(**changes: Any) -> TuneSpec:
    """Ask for a search by Katib, whatever else there is."""
    fields: dict[str, Any] = {
        "run_id": "run-1",
        "data_path": DATA,
        "trainer": trainer(),
        "search_space": (Dimension("x", "double", 0.0, 1.0),),
        "algorithm": Algorithm("random"),
        "max_trials": 4,
        "parallel_trials": 2,
        "max_failed_trials": 2,
        "tuner": "katib",
        "timeout": 60,
    }
    return TuneSpec(**{**fields, **changes})


def training(**changes: Any) -> TrainSpec:
    """Ask for a TFJob, whatever else there is."""
    fields: dict[str, Any] = {
        "run_id": "run-1",
        "data_path": DATA,
        "model_path": f"{MOUNT_PATH}/models/line/run-1/1",
        "trainer": trainer(),
        "parameters": {"x": 0.25},
        "epochs": 3,
        "training_backend": "tfjob",
        "timeout": 60,
    }
    return TrainSpec(**{**fields, **changes})


def model(run_id: str = "run-1", accuracy: float = 0.9) -> ModelRef:
    return ModelRef(f"{MOUNT_PATH}/models/m/{run_id}", run_id, accuracy, "abc123", {"x": 0.25})


def serving(**changes: Any) -> ServeSpec:
    fields: dict[str, Any] = {"run_id": "run-1", "name": "m", "model": model(), "image": "predictor:1", "timeout": 60}
    return ServeSpec(**{**fields, **changes})


BIG = Compute(
    cpu="4",
    memory="16Gi",
    gpus=1,
    node_selector={"gpu": "a100"},
    tolerations=({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},),
    image_pull_secret="registry",
    queue="research",
    gang=True,
)
