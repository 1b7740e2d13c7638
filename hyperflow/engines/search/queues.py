"""What may be tried next: whatever the sampler draws, or only what a grid or a rung of hyperband holds ready."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from hyperflow.engines.search import checkpoints
from hyperflow.engines.search import study as studies
from hyperflow.engines.search.samplers import Settings
from hyperflow.errors import InvalidParameter
from hyperflow.specs import Dimension, TuneSpec, Value

_RUNG = "rung"


class Queue(Protocol):
    """Where the next trial comes from."""

    def ready(self) -> bool:
        """Tell whether a trial may start now; see to it that what is to be tried stands in the study."""


def queue(spec: TuneSpec, study: optuna.Study) -> Queue:
    """Make the queue of a search's algorithm."""
    if spec.algorithm.name == "grid":
        return Grid(spec, study)
    if spec.algorithm.name == "hyperband":
        return Hyperband(spec, study)
    return Free()


def check(spec: TuneSpec) -> None:
    """Refuse a search that its queue could not carry through.

    Raises:
        InvalidParameter: Hyperband has not the trials, or not the resource, for its first bracket.
    """
    if spec.algorithm.name != "hyperband":
        return
    most, eta, resource = _hyperband_settings(spec)
    first = sum(rung.trials for rung in brackets(most, eta)[0])
    if spec.max_trials < first:
        raise InvalidParameter(
            "max_trials",
            spec.max_trials,
            f"at least {first}, the trials of hyperband's first bracket; or a smaller r_l",
        )
    bound = next(parameter.max for parameter in spec.search_space if parameter.name == resource)
    if most > bound:
        allowed = f"at most {bound:g}, as {resource} has that bound"
        raise InvalidParameter("algorithm_settings[r_l]", spec.algorithm.settings["r_l"], allowed)


def distributions(spec: TuneSpec) -> dict[str, BaseDistribution]:
    """Return what each hyper-parameter is drawn from; hyperband's resource has the values of its rungs."""
    made = {parameter.name: _distribution(parameter) for parameter in spec.search_space}
    if spec.algorithm.name == "hyperband":
        most, _, resource = _hyperband_settings(spec)
        made[resource] = IntDistribution(1, most)
    return made


class Free:
    """The sampler draws each trial."""

    def ready(self) -> bool:
        """Tell that there is always something to draw."""
        return True


class Grid:
    """All combinations, each once; in an order of chance where `random_state` is given, as Katib's is."""

    def __init__(self, spec: TuneSpec, study: optuna.Study) -> None:
        self._study = study
        for values in _combinations(spec):
            study.enqueue_trial(values, skip_if_exists=True)

    def ready(self) -> bool:
        """Tell whether a combination is left."""
        return bool(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


@dataclass(frozen=True)
class Rung:
    """Trials with the same resource, of which the best go on with more.

    Args:
        bracket: Rungs above the lowest one of its bracket.
        number: Its place, from the lowest.
        trials: How many there are.
        resource: What each of them gets.
    """

    bracket: int
    number: int
    trials: int
    resource: int


def brackets(most: int, eta: int) -> list[list[Rung]]:
    """Plan hyperband's brackets: from many trials with little to few trials with all (Li and others, 2018).

    Args:
        most: What a trial gets in the end.
        eta: One of how many trials goes on, with how many times more.
    """
    highest = 0
    while eta ** (highest + 1) <= most:
        highest += 1
    plan = []
    for bracket in range(highest, -1, -1):
        first = math.ceil((highest + 1) * eta**bracket / (bracket + 1))
        plan.append(
            [
                Rung(bracket, number, first // eta**number, most // eta ** (bracket - number))
                for number in range(bracket + 1)
            ]
        )
    return plan


class Hyperband:
    """Rungs one after another: each waits for the one before it to end, and takes up its best trials with more.

    Where the resource is the number of epochs, a trial of a higher rung goes on from the checkpoint of the one that it
    takes up. What has been done is read from the study alone, so that a search which was killed goes on in the rung
    where it stopped.
    """

    def __init__(self, spec: TuneSpec, study: optuna.Study) -> None:
        self._spec, self._study = spec, study
        most, eta, self._resource = _hyperband_settings(spec)
        self._brackets = brackets(most, eta)

    def ready(self) -> bool:
        """Tell whether the rung at hand has a trial left; begin the next one where all of it has ended."""
        for rungs in self._brackets:
            below: list[FrozenTrial] = []
            for rung in rungs:
                members = self._members(rung)
                wanted = self._wanted(rung, below)
                for values, attributes in wanted[len(members) :]:
                    noted = {_RUNG: [rung.bracket, rung.number], **attributes}
                    self._study.enqueue_trial(values, user_attrs=noted)
                if len(members) < len(wanted) or any(trial.state == TrialState.WAITING for trial in members):
                    return True
                if any(trial.state == TrialState.RUNNING for trial in members):
                    return False
                below = members
        return False

    def _members(self, rung: Rung) -> list[FrozenTrial]:
        """Return the trials of a rung that wait, run or have ended, in the order they were made."""
        mine = [rung.bracket, rung.number]
        return [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.user_attrs.get(_RUNG) == mine
            and (trial.state in (TrialState.WAITING, TrialState.RUNNING) or studies.counts(trial))
        ]

    def _wanted(self, rung: Rung, below: list[FrozenTrial]) -> list[tuple[dict[str, Value], dict[str, str]]]:
        """Return what is set of each of a rung's trials, and what is noted with it.

        Set is the resource, and above the lowest rung all the rest; noted is whose checkpoint it goes on from.
        """
        if rung.number == 0:
            return [({self._resource: rung.resource}, {})] * rung.trials
        survivors = studies.ranked(self._spec, below)[: rung.trials]
        return [
            ({**trial.params, self._resource: rung.resource}, checkpoints.goes_on_from(trial)) for trial in survivors
        ]


def _hyperband_settings(spec: TuneSpec) -> tuple[int, int, str]:
    settings = Settings(spec.algorithm)
    return settings.whole("r_l", 1, 1), settings.whole("eta", 3, 2), spec.algorithm.settings["resource_name"]


def _combinations(spec: TuneSpec) -> Iterator[dict[str, Value]]:
    """Yield as many combinations as there are to be trials."""
    grids = [(parameter.name, parameter.grid or ()) for parameter in spec.search_space]
    total = math.prod(len(values) for _, values in grids)
    count = min(total, spec.max_trials)
    seed = Settings(spec.algorithm).seed
    for place in range(count) if seed is None else random.Random(seed).sample(range(total), count):
        chosen = {}
        for name, values in reversed(grids):
            place, index = divmod(place, len(values))
            chosen[name] = values[index]
        yield chosen


def _distribution(parameter: Dimension) -> BaseDistribution:
    log = parameter.distribution == "logUniform"
    if parameter.type == "double":
        return FloatDistribution(parameter.min, parameter.max, log=log, step=parameter.step or None)
    if parameter.type == "int":
        return IntDistribution(int(parameter.min), int(parameter.max), log=log, step=int(parameter.step) or 1)
    return CategoricalDistribution(parameter.values)
