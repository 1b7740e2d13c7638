"""What training is asked for, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from hyperflow.errors import InvalidParameter
from hyperflow.specs.job import Job
from hyperflow.specs.values import Value, check_values, freeze, whole


@dataclass(frozen=True, kw_only=True)
class TrainSpec(Job):
    """One training with known hyper-parameters.

    Args:
        model_path: Folder that must not exist yet and will hold the SavedModel; its name is a version number.
        parameters: The hyper-parameters' values.
        parameter_servers: Parameter servers beside the workers.
        evaluator: Whether an evaluator runs beside them.
        retries: Restarts after a fault that a retry may cure.
    """

    task: ClassVar[str] = "train"

    model_path: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    parameter_servers: int = 0
    evaluator: bool = False
    retries: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"/.*/[1-9][0-9]*", self.model_path):
            raise InvalidParameter("model_path", self.model_path, "an absolute path that ends in a version number")
        check_values("parameters", self.parameters)
        whole("parameter_servers", self.parameter_servers, 0, 100)
        whole("retries", self.retries, 0, 100)
        freeze(self, "parameters", self.parameters)

    @property
    def epochs_in_all(self) -> int:
        """How many epochs the trainer is given: those that were searched for, where they were."""
        return int(float({"epochs": self.epochs, **self.trainer.arguments, **self.parameters}["epochs"]))


@dataclass(frozen=True)
class TrainResult:
    """A training that saved a model.

    Args:
        model_path: The version folder of the SavedModel.
        metrics: Every metric's last value, as the chief printed them.
        curve: Every metric's values, one an epoch, as the chief printed them.
        location: Where to look at it.
    """

    model_path: str
    metrics: Mapping[str, float]
    curve: Mapping[str, Sequence[float]]
    location: str = ""
