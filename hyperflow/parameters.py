"""The pipelines' parameters: names, defaults, meanings and the specs they become.

A pipeline's signature repeats the names and defaults, because KFP reads them there; a test holds
the two together. Every step makes the same object from what it is given, so a value is judged by
the same rule whether the laptop's command line, the first step or the last one sees it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from hyperflow import volume
from hyperflow.errors import InvalidParameter
from hyperflow.specs import (
    Algorithm,
    Compute,
    EarlyStopping,
    ModelRef,
    Objective,
    Parameter,
    ServeSpec,
    Trainer,
    TrainSpec,
    TuneSpec,
    Value,
    check_service_name,
    format_value,
)

SEARCH_SPACE: Mapping[str, Mapping[str, object]] = {
    "learning_rate": {"type": "double", "min": 0.0005, "max": 0.008, "distribution": "logUniform"},
    "dropout_rate": {"type": "double", "min": 0.1, "max": 0.5},
}
RETRAINING = (
    "best_parameters", "retune_every", "retune_accuracy_drop", "retune_drift", "keep_models", "keep_runs",
)  # fmt: skip
"""The parameters that only the recurring pipeline has."""

TRAINER_COMMAND = ("python", "-m", "hyperflow.fashion.train")
PORT = "HYPERFLOW_PORT"
"""Environment variable with the port to serve on, for an engine that serves on this machine."""

_PARAMETER_KEYS = ("type", "min", "max", "step", "values", "distribution")
_CHECKED_RUN = "check"


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a user can set; the pipelines' docstrings say what each one means.

    Raises:
        InvalidParameter: A value cannot work.
    """

    data_source: str = "auto"
    dataset: str = "fashion-mnist"
    claim: str = "hyperflow"
    model_name: str = "fashion-mnist"
    trainer_image: str = ""
    trainer_command: Sequence[str] = TRAINER_COMMAND
    trainer_arguments: Mapping[str, Value] = field(default_factory=lambda: {"model": "cnn", "seed": 0})
    trial_arguments: Mapping[str, Value] = field(default_factory=lambda: {"train_fraction": 0.5})
    search_space: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: SEARCH_SPACE)
    algorithm: str = "tpe"
    algorithm_settings: Mapping[str, Value] = field(default_factory=dict)
    objective_metric: str = "validation-accuracy"
    objective_type: str = "maximize"
    objective_goal: str = ""
    max_trials: int = 6
    parallel_trials: int = 2
    max_failed_trials: int = 3
    trial_epochs: int = 1
    trial_workers: int = 1
    early_stopping: bool = False
    early_stopping_settings: Mapping[str, int] = field(default_factory=dict)
    tune_timeout: int = 86400
    epochs: int = 14
    workers: int = 1
    parameter_servers: int = 0
    evaluator: bool = False
    train_retries: int = 2
    train_timeout: int = 86400
    cpu: str = "2"
    memory: str = "4Gi"
    gpus: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, object]] = ()
    image_pull_secret: str = ""
    queue: str = ""
    gang_scheduling: bool = False
    accuracy_floor: float = 0.85
    significance: float = 0.05
    force: bool = False
    turn_timeout: int = 600
    serving_runtime: str = "hyperflow"
    serving_image: str = ""
    min_replicas: int = 1
    max_replicas: int = 1
    canary_percent: int = 100
    deploy_timeout: int = 600
    smoke_instances: int = 200
    smoke_accuracy_floor: float = 0.8
    smoke_p99_ms: float = 1000.0
    best_parameters: Mapping[str, Value] = field(default_factory=dict)
    retune_every: int = 0
    retune_accuracy_drop: float = 0.02
    retune_drift: float = 0.25
    keep_models: int = 10
    keep_runs: int = 30

    def __post_init__(self) -> None:
        """Judge every value now, by making each spec once."""
        for name in ("data_source", "dataset"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise InvalidParameter(name, getattr(self, name), "a text that is not empty")
        if "/" in self.dataset or self.dataset.startswith("."):
            raise InvalidParameter("dataset", self.dataset, "a name for a folder, without / and not starting with .")
        check_service_name(self.model_name)
        for name in ("accuracy_floor", "smoke_accuracy_floor", "significance", "retune_accuracy_drop"):
            _within(name, getattr(self, name), 0, 1)
        _within("smoke_p99_ms", self.smoke_p99_ms, 0.001, 3_600_000)
        _within("retune_drift", self.retune_drift, 0, 1000)
        for name, least, most in (
            ("smoke_instances", 1, 10_000), ("retune_every", 0, 10_000), ("keep_models", 2, 10_000),
            ("keep_runs", 1, 10_000), ("turn_timeout", 0, 3000),
        ):  # fmt: skip
            _whole(name, getattr(self, name), least, most)
        self.tune_spec(_CHECKED_RUN, "/")
        self.train_spec(_CHECKED_RUN, "/", _mapping("best_parameters", self.best_parameters))
        self.serve_spec(_CHECKED_RUN, ModelRef("/"))

    def tune_spec(self, run_id: str, data_path: str) -> TuneSpec:
        """Make the spec of the search."""
        return TuneSpec(
            run_id=run_id, data_path=data_path, trainer=self._trainer(self.trial_arguments, "trial_arguments"),
            search_space=search_space(self.search_space), objective=self._objective(),
            algorithm=Algorithm(self.algorithm, _mapping("algorithm_settings", self.algorithm_settings)),
            max_trials=self.max_trials, parallel_trials=self.parallel_trials,
            max_failed_trials=self.max_failed_trials, epochs=self.trial_epochs, workers=self.trial_workers,
            early_stopping=self._early_stopping(), compute=self._compute(), claim=self.claim,
            timeout=self.tune_timeout,
        )  # fmt: skip

    def train_spec(self, run_id: str, data_path: str, parameters: Mapping[str, Value]) -> TrainSpec:
        """Make the spec of the training."""
        model = volume.model_path(self.model_name, run_id) / volume.MODEL_VERSION
        return TrainSpec(
            run_id=run_id, data_path=data_path, model_path=str(model), trainer=self._trainer(), parameters=parameters,
            epochs=self.epochs, workers=self.workers, parameter_servers=self.parameter_servers,
            evaluator=self.evaluator, retries=self.train_retries, compute=self._compute(), claim=self.claim,
            timeout=self.train_timeout,
        )  # fmt: skip

    def serve_spec(self, run_id: str, model: ModelRef) -> ServeSpec:
        """Make the spec of the service."""
        return ServeSpec(
            run_id=run_id, name=self.model_name, model=model, runtime=self.serving_runtime, image=self.serving_image,
            min_replicas=self.min_replicas, max_replicas=self.max_replicas, canary_percent=self.canary_percent,
            port=_port(), compute=self._compute(gpus=0), claim=self.claim, timeout=self.deploy_timeout,
        )  # fmt: skip

    def _trainer(self, more: Mapping[str, Value] | None = None, name: str = "trainer_arguments") -> Trainer:
        arguments = {**_mapping("trainer_arguments", self.trainer_arguments), **_mapping(name, more or {})}
        if isinstance(self.trainer_command, str) or not isinstance(self.trainer_command, Sequence):
            raise InvalidParameter("trainer_command", self.trainer_command, "a list of texts")
        return Trainer(tuple(self.trainer_command), arguments, self.trainer_image)

    def _objective(self) -> Objective:
        goal = None if self.objective_goal == "" else _number("objective_goal", self.objective_goal)
        return Objective(self.objective_metric, self.objective_type, goal)  # type: ignore[arg-type]

    def _early_stopping(self) -> EarlyStopping | None:
        settings = _mapping("early_stopping_settings", self.early_stopping_settings)
        known = [item.name for item in fields(EarlyStopping)]
        for key, value in settings.items():
            if key not in known:
                raise InvalidParameter(f"early_stopping_settings[{key}]", value, f"only {' and '.join(known)}")
        whole = {key: _integral(value) for key, value in settings.items()}
        stopping = EarlyStopping(**whole)  # type: ignore[arg-type]
        return stopping if self.early_stopping else None

    def _compute(self, gpus: int | None = None) -> Compute:
        if isinstance(self.tolerations, str) or not isinstance(self.tolerations, Sequence):
            raise InvalidParameter("tolerations", self.tolerations, "a list of Kubernetes tolerations")
        return Compute(
            cpu=self.cpu, memory=self.memory, gpus=self.gpus if gpus is None else gpus,
            node_selector={k: str(v) for k, v in _mapping("node_selector", self.node_selector).items()},
            tolerations=tuple(_mapping("tolerations", each) for each in self.tolerations),
            image_pull_secret=self.image_pull_secret, queue=self.queue, gang=self.gang_scheduling,
        )  # fmt: skip


def search_space(space: object) -> tuple[Parameter, ...]:
    """Make a search space from its JSON form, `{name: {"type": …, "min": …, …}}`.

    KFP hands on whole numbers inside JSON as floats, and objects in any order: the numbers are made whole again
    where the type asks for it, and the parameters come in the order of their names.

    Raises:
        InvalidParameter: It is of another form, or a parameter cannot work.
    """
    entries = _mapping("search_space", space)
    return tuple(_parameter(name, entry) for name, entry in sorted(entries.items()))


def _parameter(name: str, entry: object) -> Parameter:
    settings = dict(_mapping(f"search_space[{name}]", entry))
    for key, value in settings.items():
        if key not in _PARAMETER_KEYS:
            raise InvalidParameter(f"search_space[{name}].{key}", value, f"only {', '.join(_PARAMETER_KEYS)}")
    if "type" not in settings:
        raise InvalidParameter(f"search_space[{name}]", entry, "a type: double, int, discrete or categorical")
    if "values" in settings:
        values = settings["values"]
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise InvalidParameter(f"search_space[{name}].values", values, "a list")
        settings["values"] = tuple(_integral(value) for value in values)
    return Parameter(name, **settings)


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidParameter(name, value, "a JSON object")
    return {str(key): item for key, item in value.items()}


def _number(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidParameter(name, value, "a finite number, or nothing for none")
    return number


def _within(name: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise InvalidParameter(name, value, f"a number from {format_value(least)} up to {format_value(most)}")


def _whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidParameter(name, value, f"a whole number from {least} up to {most}")


def _port() -> int:
    text = os.environ.get(PORT, "0")
    if not text.isdigit():
        raise InvalidParameter(PORT, text, "a port's number")
    return int(text)
