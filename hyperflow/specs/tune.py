"""What a search is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from hyperflow.errors import InvalidParameter, one_of
from hyperflow.specs.job import Job
from hyperflow.specs.search import Algorithm, Dimension, EarlyStopping, Objective
from hyperflow.specs.values import Value, whole

Tuner = Literal["auto", "katib", "job"]


@dataclass(frozen=True, kw_only=True)
class TuneSpec(Job):
    """A search for good hyper-parameters.

    Args:
        search_space: What to vary.
        objective: What to compare trials by.
        algorithm: How to search.
        max_trials: Trials to finish, failed ones included.
        parallel_trials: Trials at one time; more than `max_trials` counts as that.
        max_failed_trials: Failed trials at which the search fails; 0 and 1 both mean the first, and more than
            `max_trials` counts as that.
        early_stopping: Whether, and how, to stop bad trials early.
        tuner: What proposes trials, where the engine has a choice: Katib, or our own search in the step.
    """

    task: ClassVar[str] = "tune"

    search_space: tuple[Dimension, ...]
    objective: Objective = field(default_factory=Objective)
    algorithm: Algorithm = field(default_factory=Algorithm)
    max_trials: int = 6
    parallel_trials: int = 2
    max_failed_trials: int = 3
    early_stopping: EarlyStopping | None = None
    tuner: Tuner = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.search_space:
            raise InvalidParameter("search_space", {}, "at least one hyper-parameter, {name: {type, min, max}}")
        names = [parameter.name for parameter in self.search_space]
        if len(set(names)) != len(names):
            raise InvalidParameter("search_space", names, "each name once")
        for reserved in {"data-path", "model-path"} & set(names):
            raise InvalidParameter("search_space", reserved, "names other than data-path and model-path")
        if self.tuner not in get_args(Tuner):
            raise InvalidParameter("tuner", self.tuner, one_of(get_args(Tuner)))
        whole("max_trials", self.max_trials, 1)
        for name, least in (("parallel_trials", 1), ("max_failed_trials", 0)):
            whole(name, getattr(self, name), least)
            object.__setattr__(self, name, min(getattr(self, name), self.max_trials))  # Katib refuses more than that
        self.algorithm.check(self.search_space, self.max_trials)


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
        cores: Threads it was told to use; 0 where that is not known.
        memory: The most memory it was seen to hold, in bytes; 0 where that is not known.
    """

    name: str
    status: Literal["succeeded", "failed", "early-stopped", "killed", "running", "metrics-unavailable"]
    parameters: Mapping[str, Value]
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    cores: int = 0
    memory: int = 0


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
