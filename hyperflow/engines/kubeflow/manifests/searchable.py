"""What Katib 0.19 would search otherwise than asked, or never to the end: refused before anything is created."""

from __future__ import annotations

import math
from decimal import Decimal

from hyperflow.errors import InvalidParameter
from hyperflow.specs import Dimension, TuneSpec

_FROM_ZERO = ("tpe", "random")
"""Katib runs them in hyperopt, which takes multiples of the step and looks at no bound."""

_EVEN = ("cmaes", "sobol", "hyperband")
"""Their services in Katib pass the distribution over."""

_USUAL_ETA = 3


def check(spec: TuneSpec) -> None:
    """Refuse what this cluster's Katib could not search truly.

    Raises:
        InvalidParameter: The parameter, and what would do.
    """
    for dimension in spec.search_space:
        _check_dimension(dimension, spec.algorithm.name)
    if spec.algorithm.name == "hyperband":
        _check_bracket(spec)
    if spec.algorithm.name == "grid":
        _check_one_by_one(spec)


def _check_dimension(dimension: Dimension, algorithm: str) -> None:
    where = f"search_space[{dimension.name}]"
    if dimension.distribution == "logUniform" and algorithm in _EVEN:
        allowed = (
            f"uniform, as Katib's {algorithm} draws evenly all the same; or algorithm tpe, random or multivariate-tpe"
        )
        raise InvalidParameter(f"{where}.distribution", dimension.distribution, allowed)
    if algorithm in _FROM_ZERO and _is_stepped(dimension):
        _check_multiples(dimension, algorithm)
    if algorithm == "hyperband" and _is_stepped(dimension):
        allowed = "0, as Katib's hyperband passes steps over; or values of the type discrete"
        raise InvalidParameter(f"{where}.step", dimension.step, allowed)
    if algorithm == "hyperband" and dimension.type == "discrete":
        for value in dimension.values:
            if not float(value).is_integer():
                allowed = "whole numbers, as Katib's hyperband reads no others; or the type categorical"
                raise InvalidParameter(f"{where}.values", value, allowed)


def _is_stepped(dimension: Dimension) -> bool:
    return dimension.step > (1 if dimension.type == "int" else 0)


def _check_multiples(dimension: Dimension, algorithm: str) -> None:
    for bound, value in (("min", dimension.min), ("max", dimension.max)):
        if Decimal(repr(value)) % Decimal(repr(dimension.step)):
            allowed = (
                f"a multiple of step, which is {dimension.step}: Katib's {algorithm} tries no other numbers; "
                "or values of the type discrete, or algorithm multivariate-tpe"
            )
            raise InvalidParameter(f"search_space[{dimension.name}].{bound}", value, allowed)


def _check_one_by_one(spec: TuneSpec) -> None:
    """Refuse a grid of parallel trials: a request for a second point meanwhile has Katib drop the first for good."""
    if spec.parallel_trials > 1:
        allowed = "1, as Katib loses points of a grid of which it asks for several at a time; or tuner job"
        raise InvalidParameter("parallel_trials", spec.parallel_trials, allowed)


def _check_bracket(spec: TuneSpec) -> None:
    """Refuse a hyperband of several rounds: the service in Katib fails for ever where the second would begin."""
    if spec.max_trials > spec.parallel_trials:
        allowed = (
            f"max_trials, which is {spec.max_trials}: Katib's hyperband never gets over its first bracket; "
            "or algorithm tpe with early_stopping"
        )
        raise InvalidParameter("parallel_trials", spec.parallel_trials, allowed)
    settings = spec.algorithm.settings
    most, eta = float(settings["r_l"]), int(settings.get("eta", _USUAL_ETA))
    least = eta ** int(math.log(most) / math.log(eta))
    if spec.parallel_trials < least:
        allowed = f"at least {least} (eta to the power of log r_l / log eta), or a smaller r_l in algorithm_settings"
        raise InvalidParameter("parallel_trials", spec.parallel_trials, allowed)
