"""What tuning and training are asked for, and what they answer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hyperflow.errors import InvalidParameter
from hyperflow.specs.search import Algorithm, EarlyStopping, Objective, Parameter
from hyperflow.specs.values import (
    LABEL,
    PARAMETER_NAME,
    Value,
    check_claim,
    check_run_id,
    format_value,
    freeze,
    is_number,
    job_name,
    whole,
)

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


@dataclass(frozen=True)
class Trainer:
    """The program that trials and training jobs run: any image and command that keeps the trainer contract.

    Args:
        command: Program and first arguments.
        arguments: Further `--<name>=<value>` given to every trial and to the training.
        image: The container image; engines without containers pass it over.
    """

    command: tuple[str, ...]
    arguments: Mapping[str, str] = field(default_factory=dict)
    image: str = ""

    def __post_init__(self) -> None:
        if not self.command or not all(isinstance(word, str) and word for word in self.command):
            raise InvalidParameter("trainer_command", list(self.command), "a list of texts that starts with a program")
        for name in self.arguments:
            if not PARAMETER_NAME.fullmatch(str(name)):
                raise InvalidParameter("trainer_arguments", name, "argument names of letters, digits, _ and -")
        freeze(self, "arguments", {str(name): format_value(value) for name, value in self.arguments.items()})

    def argv(self, data_path: str, parameters: Mapping[str, Value], epochs: int, model_path: str = "") -> list[str]:
        """Build the command line; the same on every engine.

        A parameter of the search space wins over an argument or the number of epochs of the same name.
        """
        flags: dict[str, Value] = {"epochs": epochs, **self.arguments, **parameters}
        words = [*self.command, f"--data-path={data_path}"]
        words += [f"--{name}={format_value(value)}" for name, value in flags.items()]
        return [*words, f"--model-path={model_path}"] if model_path else words


@dataclass(frozen=True)
class Compute:
    """What one replica of a job or service gets; engines without a scheduler pass it over.

    Args:
        cpu: Cores, as a Kubernetes quantity.
        memory: Memory, as a Kubernetes quantity.
        gpus: Whole GPUs (`nvidia.com/gpu`).
        node_selector: Labels that the node must have.
        tolerations: Kubernetes tolerations.
        image_pull_secret: Name of the Secret to pull images with, or empty.
        queue: Kueue or Volcano queue, or empty.
        gang: Start all replicas or none.
        fs_group: Group that owns the volume's files.
    """

    cpu: str = "1"
    memory: str = "2Gi"
    gpus: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, object], ...] = ()
    image_pull_secret: str = ""
    queue: str = ""
    gang: bool = False
    fs_group: int = 1000

    def __post_init__(self) -> None:
        for name, quantity in (("cpu", self.cpu), ("memory", self.memory)):
            if not isinstance(quantity, str) or not _QUANTITY.fullmatch(quantity):
                raise InvalidParameter(name, quantity, "a Kubernetes quantity such as 2, 500m or 4Gi")
        whole("gpus", self.gpus, 0)
        if self.image_pull_secret and not LABEL.fullmatch(self.image_pull_secret):
            raise InvalidParameter("image_pull_secret", self.image_pull_secret, "the name of a Secret, or nothing")
        freeze(self, "node_selector", self.node_selector)


@dataclass(frozen=True)
class TuneSpec:
    """A search for good hyper-parameters.

    Args:
        run_id: The run this belongs to.
        data_path: The data set's folder.
        trainer: What each trial runs.
        search_space: What to vary.
        objective: What to compare trials by.
        algorithm: How to search.
        max_trials: Trials to finish, failed ones included.
        parallel_trials: Trials at one time; more than `max_trials` counts as that.
        max_failed_trials: Failed trials at which the search fails; 0 and 1 both mean the first, and more than
            `max_trials` counts as that.
        epochs: Epochs of a trial.
        early_stopping: Whether, and how, to stop bad trials early.
        workers: Processes of one trial.
        compute: Resources of each.
        claim: The volume claim, where the engine has claims.
        timeout: Seconds for the whole search.
    """

    run_id: str
    data_path: str
    trainer: Trainer
    search_space: tuple[Parameter, ...]
    objective: Objective = field(default_factory=Objective)
    algorithm: Algorithm = field(default_factory=Algorithm)
    max_trials: int = 6
    parallel_trials: int = 2
    max_failed_trials: int = 3
    epochs: int = 1
    early_stopping: EarlyStopping | None = None
    workers: int = 1
    compute: Compute = field(default_factory=Compute)
    claim: str = "hyperflow"
    timeout: int = 24 * 3600

    def __post_init__(self) -> None:
        _job(self)
        if not self.search_space:
            raise InvalidParameter("search_space", [], "at least one parameter")
        names = [parameter.name for parameter in self.search_space]
        if len(set(names)) != len(names):
            raise InvalidParameter("search_space", names, "each name once")
        for reserved in {"data-path", "model-path"} & set(names):
            raise InvalidParameter("search_space", reserved, "names other than data-path and model-path")
        whole("max_trials", self.max_trials, 1)
        for name, least in (("parallel_trials", 1), ("max_failed_trials", 0)):
            whole(name, getattr(self, name), least)
            object.__setattr__(self, name, min(getattr(self, name), self.max_trials))  # Katib refuses more than that
        self.algorithm.check(self.search_space, self.max_trials)

    @property
    def name(self) -> str:
        """The job's name, the same for every attempt of this run's step."""
        return job_name("tune", self.run_id)


@dataclass(frozen=True)
class TrainSpec:
    """One training with known hyper-parameters.

    Args:
        run_id: The run this belongs to.
        data_path: The data set's folder.
        model_path: Folder that must not exist yet and will hold the SavedModel; its name is a version number.
        trainer: What each worker runs.
        parameters: The hyper-parameters' values.
        epochs: Passes over the data.
        workers: Processes that train together.
        parameter_servers: Parameter servers beside them.
        evaluator: Whether an evaluator runs beside them.
        retries: Restarts after a fault that a retry may cure.
        compute: Resources of each.
        claim: The volume claim, where the engine has claims.
        timeout: Seconds for the whole training.
    """

    run_id: str
    data_path: str
    model_path: str
    trainer: Trainer
    parameters: Mapping[str, Value] = field(default_factory=dict)
    epochs: int = 1
    workers: int = 1
    parameter_servers: int = 0
    evaluator: bool = False
    retries: int = 2
    compute: Compute = field(default_factory=Compute)
    claim: str = "hyperflow"
    timeout: int = 24 * 3600

    def __post_init__(self) -> None:
        _job(self)
        if not re.fullmatch(r"/.*/[1-9][0-9]*", self.model_path):
            raise InvalidParameter("model_path", self.model_path, "an absolute path that ends in a version number")
        for name, value in self.parameters.items():
            if not PARAMETER_NAME.fullmatch(str(name)):
                raise InvalidParameter("parameters", name, "names of letters, digits, _ and -")
            if not isinstance(value, str) and not (is_number(value) and math.isfinite(value)):
                raise InvalidParameter(f"parameters[{name}]", value, "a finite number or a text")
        whole("parameter_servers", self.parameter_servers, 0, 100)
        whole("train_retries", self.retries, 0, 100)
        freeze(self, "parameters", self.parameters)

    @property
    def name(self) -> str:
        """The job's name, the same for every attempt of this run's step."""
        return job_name("train", self.run_id)


@dataclass(frozen=True)
class Trial:
    """One trial as it ended.

    Args:
        name: The trial's name.
        status: How it ended.
        parameters: The values it tried.
        value: The objective's value, or None where it reported none.
        metrics: Every metric's latest value.
        seconds: How long it ran; 0 where that is not known.
    """

    name: str
    status: Literal["succeeded", "failed", "early-stopped", "killed", "running", "metrics-unavailable"]
    parameters: Mapping[str, Value]
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class TuneResult:
    """A search that found something.

    Args:
        best: The best trial.
        trials: All trials, in the order they were made.
        location: Where to look at it: a URL, an object's name or a file.
    """

    best: Trial
    trials: tuple[Trial, ...]
    location: str = ""


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


def _job(spec: TuneSpec | TrainSpec) -> None:
    check_run_id(spec.run_id)
    check_claim(spec.claim)
    if not spec.data_path.startswith("/"):
        raise InvalidParameter("data_path", spec.data_path, "an absolute path")
    trial, stage = ("trial_", "tune") if isinstance(spec, TuneSpec) else ("", "train")  # as the pipelines name them
    whole(f"{trial}epochs", spec.epochs, 1)
    whole(f"{trial}workers", spec.workers, 1, 100)
    whole(f"{stage}_timeout", spec.timeout, 1)
