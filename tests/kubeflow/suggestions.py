"""What the services of Katib's algorithms do in an emulated cluster: refuse settings, suggest, or fail for ever."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator

from tests.kubeflow.store import Object

_HYPEROPT = ("tpe", "random")


class Choked(Exception):
    """The service fails on what it is given, now and at every later attempt."""


class Algorithm:
    """The service of one search."""

    def __init__(self, spec: Object) -> None:
        self._spec, self._name = spec, str(spec["algorithm"]["algorithmName"])
        self._chance, self._number = random.Random(1), 0
        self._grid = itertools.cycle(grid(spec)) if self._name == "grid" else None

    def suggest(self, trials: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Suggest one point, given each trial's state and objective.

        Raises:
            Choked: The service cannot.
        """
        for state, text in trials:
            if state in ("Succeeded", "EarlyStopped"):
                _as_number(text)
        self._number += 1
        if self._name == "hyperband" and self._number > self._spec["parallelTrialCount"]:
            raise Choked("There are some trials which are not completed yet for experiment")
        if self._grid is not None:
            return next(self._grid)
        return {parameter["name"]: self._draw(parameter) for parameter in self._spec["parameters"]}

    def _draw(self, parameter: Object) -> str:
        space, kind = parameter["feasibleSpace"], parameter["parameterType"]
        if "list" in space:
            return str(self._chance.choice(space["list"]))
        least, most = float(space["min"]), float(space["max"])
        step = float(space.get("step") or (1 if kind == "int" else 0))
        if self._name in _HYPEROPT:
            if least == most:
                raise Choked("list index out of range")
            number = self._uniform(space, least, most)
            number = round(number / step) * step if step else number  # hyperopt counts steps from 0
        else:
            number = self._uniform(space, least, most)
            number = least + math.floor((number - least) / step) * step if step else number
        return str(int(number)) if kind == "int" else str(number)

    def _uniform(self, space: Object, least: float, most: float) -> float:
        if space.get("distribution") == "logUniform" and self._name in (*_HYPEROPT, "multivariate-tpe"):
            return math.exp(self._chance.uniform(math.log(least), math.log(most)))
        return self._chance.uniform(least, most)


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Choked(str(error)) from error


def grid(spec: Object) -> Iterator[dict[str, str]]:
    """Return every combination, by numpy's arithmetic for doubles: the last point may be missing."""
    lists = [points(parameter) for parameter in spec["parameters"]]
    names = [parameter["name"] for parameter in spec["parameters"]]
    for values in itertools.product(*lists):
        yield dict(zip(names, values, strict=True))


def points(parameter: Object) -> list[str]:
    space, kind = parameter["feasibleSpace"], parameter["parameterType"]
    if "list" in space:
        return [str(value) for value in space["list"]]
    if kind == "int":
        return [str(each) for each in range(int(space["min"]), int(space["max"]) + 1, int(space.get("step") or 1))]
    least, most, step = (float(space[name]) for name in ("min", "max", "step"))
    numbers = [least + index * step for index in range(math.ceil((most + step - least) / step))]
    return [str(number) for number in (numbers[:-1] if numbers[-1] > most else numbers)]


def complaint(spec: Object) -> str:
    """Return why the algorithm's service refuses a search, or nothing."""
    name = spec["algorithm"]["algorithmName"]
    rules = _RULES[name]
    settings = {each["name"]: each["value"] for each in spec["algorithm"].get("algorithmSettings") or []}
    for setting, value in settings.items():
        if setting not in rules:
            if name not in ("hyperband", "sobol", "cmaes"):
                return f"unknown setting {setting} for algorithm {name}"
            continue
        try:
            fits = rules[setting](value)
        except ValueError as error:
            return f"failed to validate {setting}({value}): {error}"
        if not fits:
            return f"{setting} cannot be {value}"
    if name == "grid" and (combinations := sum(1 for _ in grid(spec))) < spec["maxTrialCount"]:
        return f"Max Trial Count: {spec['maxTrialCount']} > all possible search combinations: {combinations}"
    return _bracket_complaint(spec, settings) if name == "hyperband" else ""


def _bracket_complaint(spec: Object, settings: dict[str, str]) -> str:
    if not {"r_l", "resource_name"} <= settings.keys():
        return "r_l and resource_name must be set."
    eta = int(float(settings.get("eta", 3)))
    least = eta ** int(math.log(float(settings["r_l"])) / math.log(eta))
    return "" if spec["parallelTrialCount"] >= least else f"parallelTrialCount must be not less than {least}."


_RULES: dict[str, dict[str, Callable[[str], bool]]] = {
    "random": {"random_state": lambda text: int(text) >= 0},
    "grid": {"random_state": lambda text: int(text) >= 0},
    "tpe": {
        "gamma": lambda text: 0 < float(text) < 1,
        "prior_weight": lambda text: float(text) > 0,
        "n_EI_candidates": lambda text: int(text) > 0,
        "random_state": lambda text: int(text) >= 0,
    },
    "multivariate-tpe": {
        name: lambda text: int(text) >= 0 for name in ("n_startup_trials", "n_ei_candidates", "random_state")
    },
    "cmaes": {"restart_strategy": lambda text: text in ("none", "ipop", "bipop")},
    "sobol": {},
    "hyperband": {},
}
