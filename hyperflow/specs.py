"""What an engine is asked for and what it answers: frozen values that refuse what cannot work when they are made.

    ModelRef ──────────────┐
    Trainer, Compute ──┐   │
    Parameter ─────────┼─> TuneSpec  ─ engine.tune  ─> TuneResult (Trial, …)
    Objective ─────────┤   │
    Algorithm ─────────┘   │
                           TrainSpec ─ engine.train ─> TrainResult
                           ServeSpec ─ engine.serve ─> Endpoint

Nothing here knows how an engine works, and nothing here touches a disk or a network.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Literal

from hyperflow.errors import InvalidParameter, one_of

Value = float | int | str
"""A hyper-parameter's value: a number, or one of a categorical parameter's texts."""

ParameterType = Literal["double", "int", "discrete", "categorical"]
Distribution = Literal["uniform", "logUniform"]
Direction = Literal["maximize", "minimize"]

ALGORITHMS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "random": frozenset({"random_state"}),
        "grid": frozenset({"random_state"}),
        "tpe": frozenset({"gamma", "prior_weight", "n_EI_candidates", "random_state"}),
        "multivariate-tpe": frozenset({"n_startup_trials", "n_ei_candidates", "random_state"}),
        "cmaes": frozenset({"sigma", "restart_strategy", "random_state"}),
        "sobol": frozenset({"random_state"}),
        "hyperband": frozenset({"r_l", "resource_name", "eta", "random_state"}),
    }
)
"""Katib's algorithm names that both engines have, and the settings each takes (Katib v0.19)."""

RUNTIMES = ("hyperflow", "tensorflow")
"""Our own predictor, or TensorFlow Serving as KServe ships it."""

_METRIC_NAME = re.compile(r"[A-Za-z0-9_|-]+")
_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


def format_value(value: Value) -> str:
    """Write a value as an engine passes it to a trainer: `64`, not `64.0`, and floats that read back the same."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


def fingerprint(spec: object) -> str:
    """Digest a spec, so that two attempts can tell whether they were asked for the same."""
    text = json.dumps(spec, default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def job_name(task: str, run_id: str) -> str:
    """Name a job after its task and run, in at most 40 characters (Katib's limit), the same at every call."""
    room = 40 - len(task) - 1
    if len(run_id) <= room:
        return f"{task}-{run_id}"
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
    return f"{task}-{run_id[: room - 9].rstrip('-')}-{digest}"


@dataclass(frozen=True)
class Parameter:
    """One dimension of a search space.

    Args:
        name: The hyper-parameter; the trainer gets it as `--<name>=<value>`.
        type: `double` and `int` have bounds, `discrete` (numbers) and `categorical` (texts) have values.
        min: Smallest value, included.
        max: Largest value, included.
        step: Distance between values; 0 means none for a double and 1 for an int.
        values: The values to choose from.
        distribution: How a double or an int is drawn.

    Raises:
        InvalidParameter: A bound or value is missing, out of order or does not suit the type.
    """

    name: str
    type: ParameterType
    min: float = math.nan
    max: float = math.nan
    step: float = 0.0
    values: tuple[Value, ...] = ()
    distribution: Distribution = "uniform"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _PARAMETER_NAME.fullmatch(self.name):
            raise InvalidParameter("search_space", self.name, "parameter names of letters, digits, _ and -")
        where = f"search_space[{self.name}]"
        if self.type in ("double", "int"):
            self._check_range(where)
        elif self.type in ("discrete", "categorical"):
            self._check_values(where)
        else:
            raise InvalidParameter(f"{where}.type", self.type, one_of(("double", "int", "discrete", "categorical")))

    def _check_range(self, where: str) -> None:
        for bound, value in (("min", self.min), ("max", self.max), ("step", self.step)):
            if not _is_number(value) or not math.isfinite(value):
                raise InvalidParameter(f"{where}.{bound}", value, "a finite number")
            if self.type == "int" and not float(value).is_integer():
                raise InvalidParameter(f"{where}.{bound}", value, "a whole number, as the type is int")
        if self.values:
            raise InvalidParameter(f"{where}.values", list(self.values), "min and max for this type, not values")
        if self.min > self.max:
            raise InvalidParameter(f"{where}.min", self.min, f"a number up to max, which is {self.max}")
        if self.step < 0:
            raise InvalidParameter(f"{where}.step", self.step, "0 for none, or a positive number")
        if self.distribution not in ("uniform", "logUniform"):
            raise InvalidParameter(f"{where}.distribution", self.distribution, one_of(("uniform", "logUniform")))
        if self.distribution == "logUniform":
            if self.min <= 0:
                raise InvalidParameter(f"{where}.min", self.min, "a number above 0, as the distribution is logUniform")
            if self.step and not (self.type == "int" and self.step == 1):
                raise InvalidParameter(f"{where}.step", self.step, "0, as the distribution is logUniform")

    def _check_values(self, where: str) -> None:
        if not (math.isnan(self.min) and math.isnan(self.max) and self.step == 0):
            raise InvalidParameter(f"{where}.type", self.type, "values for this type, not min, max or step")
        if not self.values or len(set(self.values)) != len(self.values):
            raise InvalidParameter(f"{where}.values", list(self.values), "at least one value, each once")
        for value in self.values:
            if self.type == "discrete" and not (_is_number(value) and math.isfinite(float(value))):
                raise InvalidParameter(f"{where}.values", value, "finite numbers, as the type is discrete")
            if self.type == "categorical" and (not isinstance(value, str) or not value or not value.isprintable()):
                raise InvalidParameter(f"{where}.values", value, "non-empty texts, as the type is categorical")

    @property
    def grid(self) -> tuple[Value, ...] | None:
        """Every value there is to try, or None where there are endlessly many."""
        if self.type in ("discrete", "categorical"):
            return self.values
        step = self.step or (1.0 if self.type == "int" else 0.0)
        if not step:
            return None
        count = math.floor((self.max - self.min) / step + 1e-9) + 1
        numbers = [self.min + index * step for index in range(count)]
        return tuple(int(number) for number in numbers) if self.type == "int" else tuple(numbers)


@dataclass(frozen=True)
class Objective:
    """What trials are compared by.

    Args:
        metric: A metric that the trainer prints each epoch.
        direction: Whether more or less of it is better.
        goal: The value at which to stop looking, or None.
        additional: Further metrics to collect.
    """

    metric: str = "validation-accuracy"
    direction: Direction = "maximize"
    goal: float | None = None
    additional: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for metric in (self.metric, *self.additional):
            if not isinstance(metric, str) or not _METRIC_NAME.fullmatch(metric):
                raise InvalidParameter("objective_metric", metric, "letters, digits, _ and - (no / or .)")
        if self.metric in self.additional:
            raise InvalidParameter("objective_metric", self.metric, "a metric that is not among the additional ones")
        if self.direction not in ("maximize", "minimize"):
            raise InvalidParameter("objective_type", self.direction, one_of(("maximize", "minimize")))
        if self.goal is not None and (not _is_number(self.goal) or not math.isfinite(self.goal)):
            raise InvalidParameter("objective_goal", self.goal, "a finite number, or nothing")

    def best(self, values: Sequence[float]) -> float:
        """Return a trial's value: the best of those it reported (Katib's default metric strategy)."""
        return max(values) if self.direction == "maximize" else min(values)

    def reached(self, value: float) -> bool:
        """Tell whether a value is at the goal or past it."""
        if self.goal is None:
            return False
        return value >= self.goal if self.direction == "maximize" else value <= self.goal


@dataclass(frozen=True)
class Algorithm:
    """How the search space is searched.

    Args:
        name: One of `ALGORITHMS`.
        settings: The algorithm's settings, as texts (Katib's form).
    """

    name: str = "tpe"
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in ALGORITHMS:
            raise InvalidParameter("algorithm", self.name, one_of(ALGORITHMS))
        _freeze(self, "settings", {key: format_value(value) for key, value in self.settings.items()})
        for key, value in self.settings.items():
            if key not in ALGORITHMS[self.name]:
                allowed = f"settings that {self.name} has: {one_of(ALGORITHMS[self.name])}"
                raise InvalidParameter(f"algorithm_settings[{key}]", value, allowed)
            if key not in ("resource_name", "restart_strategy") and not _reads_as_number(value):
                raise InvalidParameter(f"algorithm_settings[{key}]", value, "a number")
        if self.name == "hyperband":
            for key in ("r_l", "resource_name"):
                if key not in self.settings:
                    raise InvalidParameter("algorithm_settings", dict(self.settings), f"hyperband's {key} too")

    def check(self, space: Sequence[Parameter], max_trials: int) -> None:
        """Refuse a search space that this algorithm cannot search.

        Raises:
            InvalidParameter: The space, or the number of trials, does not suit the algorithm.
        """
        if self.name == "grid":
            grids = [parameter.grid for parameter in space]
            for parameter, grid in zip(space, grids, strict=True):
                if grid is None:
                    raise InvalidParameter(
                        f"search_space[{parameter.name}].step",
                        0,
                        "a step, as the algorithm is grid and the type double",
                    )
            combinations = math.prod(len(grid) for grid in grids if grid is not None)
            if max_trials > combinations:
                raise InvalidParameter("max_trials", max_trials, f"at most {combinations}, the grid's combinations")
        elif self.name == "cmaes":
            if sum(parameter.type in ("double", "int") for parameter in space) < 2:
                raise InvalidParameter("algorithm", self.name, "another, or two parameters of type double or int")
        elif self.name == "hyperband":
            resource = self.settings["resource_name"]
            if not any(parameter.name == resource and parameter.type == "int" for parameter in space):
                raise InvalidParameter(
                    "algorithm_settings[resource_name]", resource, "a parameter of type int in the search space"
                )


@dataclass(frozen=True)
class EarlyStopping:
    """Stop a trial that does worse than the others did at the same step (Katib's `medianstop`).

    Args:
        min_trials_required: Trials that must have ended before any is stopped.
        start_step: Reports of the objective that a trial may make before it can be stopped.
    """

    min_trials_required: int = 3
    start_step: int = 4

    def __post_init__(self) -> None:
        _whole("early_stopping_settings[min_trials_required]", self.min_trials_required, 1)
        _whole("early_stopping_settings[start_step]", self.start_step, 1)


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
            if not _PARAMETER_NAME.fullmatch(str(name)):
                raise InvalidParameter("trainer_arguments", name, "argument names of letters, digits, _ and -")
        _freeze(self, "arguments", {str(name): format_value(value) for name, value in self.arguments.items()})

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
        _whole("gpus", self.gpus, 0)
        if self.image_pull_secret and not _LABEL.fullmatch(self.image_pull_secret):
            raise InvalidParameter("image_pull_secret", self.image_pull_secret, "the name of a Secret, or nothing")
        _freeze(self, "node_selector", self.node_selector)


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
        _whole("max_trials", self.max_trials, 1)
        for name, least in (("parallel_trials", 1), ("max_failed_trials", 0)):
            _whole(name, getattr(self, name), least)
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
            if not _PARAMETER_NAME.fullmatch(str(name)):
                raise InvalidParameter("parameters", name, "names of letters, digits, _ and -")
            if not isinstance(value, str) and not (_is_number(value) and math.isfinite(value)):
                raise InvalidParameter(f"parameters[{name}]", value, "a finite number or a text")
        _whole("parameter_servers", self.parameter_servers, 0, 100)
        _whole("train_retries", self.retries, 0, 100)
        _freeze(self, "parameters", self.parameters)

    @property
    def name(self) -> str:
        """The job's name, the same for every attempt of this run's step."""
        return job_name("train", self.run_id)


@dataclass(frozen=True)
class ModelRef:
    """A model that is or was served.

    Args:
        path: The folder above the version folder; what a service's storage points at.
        run_id: The run that trained it.
        accuracy: Accuracy on the test set, 0 to 1.
        data: Digest of the data set it was trained and tested on.
        parameters: The hyper-parameters it was trained with.
    """

    path: str
    run_id: str = ""
    accuracy: float = 0.0
    data: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise InvalidParameter("model_path", self.path, "an absolute path")
        _fraction("accuracy", self.accuracy)
        _freeze(self, "parameters", self.parameters)


@dataclass(frozen=True)
class ServeSpec:
    """A model to serve under a name, in place of whatever has the name now.

    Args:
        run_id: The run this belongs to.
        name: The service's name, which is also the model's name in the protocol.
        model: What to serve.
        runtime: One of `RUNTIMES`.
        image: The predictor's image, where the engine has images and the runtime is `hyperflow`.
        min_replicas: Replicas at least; 0 lets Knative scale to nothing.
        max_replicas: Replicas at most.
        canary_percent: Share of requests for the new model until `promote`; 100 means no canary.
        port: Port on this machine, where the engine serves on one; 0 means any free one.
        compute: Resources of a replica.
        claim: The volume claim, where the engine has claims.
        timeout: Seconds for the new model to answer.
    """

    run_id: str
    name: str
    model: ModelRef
    runtime: str = "hyperflow"
    image: str = ""
    min_replicas: int = 1
    max_replicas: int = 1
    canary_percent: int = 100
    port: int = 0
    compute: Compute = field(default_factory=Compute)
    claim: str = "hyperflow"
    timeout: int = 600

    def __post_init__(self) -> None:
        check_run_id(self.run_id)
        check_service_name(self.name)
        if self.runtime not in RUNTIMES:
            raise InvalidParameter("serving_runtime", self.runtime, one_of(RUNTIMES))
        _whole("min_replicas", self.min_replicas, 0)
        _whole("max_replicas", self.max_replicas, 1)
        if self.min_replicas > self.max_replicas:
            raise InvalidParameter("min_replicas", self.min_replicas, f"at most max_replicas ({self.max_replicas})")
        _whole("canary_percent", self.canary_percent, 1, 100)
        _whole("port", self.port, 0, 65535)
        _whole("deploy_timeout", self.timeout, 1)
        check_claim(self.claim)


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


@dataclass(frozen=True)
class Endpoint:
    """A service that answers.

    Args:
        name: The service and model name.
        url: Base URL; requests go to `<url>/v1/models/<name>:predict`.
        model: What it serves.
        previous: What it served before, or None.
        revision: The engine's own name for this state of the service.
        location: Where to look at it.
    """

    name: str
    url: str
    model: ModelRef
    previous: ModelRef | None = None
    revision: str = ""
    location: str = ""


def check_run_id(run_id: str) -> None:
    """Refuse a run id that could not be a Kubernetes label and a folder's name.

    Raises:
        InvalidParameter: It has other characters than a-z, 0-9 and -, or more than 63.
    """
    if not isinstance(run_id, str) or not _LABEL.fullmatch(run_id):
        raise InvalidParameter("run_id", run_id, "1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends")


def check_service_name(name: str) -> None:
    """Refuse a name that KServe or the host names derived from it would refuse.

    Raises:
        InvalidParameter: It does not fit.
    """
    if not isinstance(name, str) or not _SERVICE.fullmatch(name) or len(name) > 40:
        raise InvalidParameter("model_name", name, "1 to 40 of a-z, 0-9 and -, starting with a letter, not ending in -")


def check_claim(claim: str) -> None:
    """Refuse a claim name that KFP could not mount: it becomes the volume's name too, so no dots.

    Raises:
        InvalidParameter: It does not fit.
    """
    if not isinstance(claim, str) or not _CLAIM.fullmatch(claim):
        raise InvalidParameter("claim", claim, "the name of a volume claim: 1 to 63 of a-z, 0-9 and -")


def _job(spec: TuneSpec | TrainSpec) -> None:
    check_run_id(spec.run_id)
    check_claim(spec.claim)
    if not spec.data_path.startswith("/"):
        raise InvalidParameter("data_path", spec.data_path, "an absolute path")
    _whole("epochs", spec.epochs, 1)
    _whole("workers", spec.workers, 1, 100)
    _whole("timeout", spec.timeout, 1)


def _whole(name: str, value: object, least: int, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        upper = "" if most is None else f" up to {most}"
        raise InvalidParameter(name, value, f"a whole number from {least}{upper}")


def _fraction(name: str, value: object) -> None:
    if not _is_number(value) or not 0 <= float(value) <= 1:  # type: ignore[arg-type]
        raise InvalidParameter(name, value, "a number from 0 to 1")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _reads_as_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return {item.name: getattr(value, item.name) for item in fields(value)}  # type: ignore[arg-type]


def _freeze(spec: object, name: str, mapping: Mapping[str, object]) -> None:
    """Keep a mapping from being changed, in the order of its keys: KFP hands JSON objects on in any order."""
    object.__setattr__(spec, name, MappingProxyType(dict(sorted(mapping.items()))))
