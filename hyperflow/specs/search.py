"""What is searched, by what measure and how."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from hyperflow.errors import InvalidParameter, one_of
from hyperflow.specs.algorithms import ALGORITHMS, check_settings
from hyperflow.specs.values import PARAMETER_NAME, Value, format_value, freeze, is_number, whole

ParameterType = Literal["double", "int", "discrete", "categorical"]
Distribution = Literal["uniform", "logUniform"]
Direction = Literal["maximize", "minimize"]

_LARGEST_GRID = 10_000
_METRIC_NAME = re.compile(r"[A-Za-z0-9_|-]+")


@dataclass(frozen=True)
class Dimension:
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
        if not isinstance(self.name, str) or not PARAMETER_NAME.fullmatch(self.name):
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
            if not is_number(value) or not math.isfinite(value):
                raise InvalidParameter(f"{where}.{bound}", value, "a finite number")
            if self.type == "int" and not float(value).is_integer():
                raise InvalidParameter(f"{where}.{bound}", value, "a whole number, as the type is int")
        if self.values:
            raise InvalidParameter(f"{where}.values", list(self.values), "min and max for this type, not values")
        if self.min > self.max:
            raise InvalidParameter(f"{where}.min", self.min, f"a number below max, which is {self.max}")
        if self.min == self.max:
            remedy = "a number above min; a value that is always the same goes to trainer_arguments, not here"
            raise InvalidParameter(f"{where}.max", self.max, remedy)
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
            if self.type == "discrete" and not (is_number(value) and math.isfinite(float(value))):
                raise InvalidParameter(f"{where}.values", value, "finite numbers, as the type is discrete")
            if self.type == "categorical" and (not isinstance(value, str) or not value or not value.isprintable()):
                raise InvalidParameter(f"{where}.values", value, "non-empty texts, as the type is categorical")

    @property
    def grid(self) -> tuple[Value, ...] | None:
        """Every value there is to try, or None where there are endlessly many."""
        if self.type in ("discrete", "categorical"):
            return self.values
        if self.type == "int":
            return tuple(range(int(self.min), int(self.max) + 1, int(self.step) or 1))
        if not self.step:
            return None
        first, last, step = (Decimal(repr(number)) for number in (self.min, self.max, self.step))
        return tuple(float(first + index * step) for index in range(int((last - first) // step) + 1))


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
        if self.goal is not None and (not is_number(self.goal) or not math.isfinite(self.goal)):
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
        freeze(self, "settings", {key: format_value(value) for key, value in self.settings.items()})
        check_settings(self.name, self.settings)

    @property
    def gives_epochs(self) -> bool:
        """Whether the best trials are taken up with more epochs, and may go on from a checkpoint."""
        return self.name == "hyperband" and self.settings["resource_name"] == "epochs"

    def check(self, space: Sequence[Dimension], max_trials: int) -> None:
        """Refuse a search space that this algorithm cannot search.

        Raises:
            InvalidParameter: The space, or the number of trials, does not suit the algorithm.
        """
        if self.name == "grid":
            combinations = math.prod(_points(dimension) for dimension in space)
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


def _points(dimension: Dimension) -> int:
    """Count a dimension's values in a grid."""
    where, step = f"search_space[{dimension.name}].step", dimension.step
    if dimension.type == "double" and not step:
        raise InvalidParameter(where, step, "a step, as the algorithm is grid and the type double")
    if dimension.type in ("double", "int") and (dimension.max - dimension.min) / (step or 1) >= _LARGEST_GRID:
        raise InvalidParameter(
            where, step, f"a larger step: a grid takes at most {_LARGEST_GRID} values of a parameter"
        )
    return len(dimension.grid or ())


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
        whole("early_stopping_settings[min_trials_required]", self.min_trials_required, 1)
        whole("early_stopping_settings[start_step]", self.start_step, 1)
