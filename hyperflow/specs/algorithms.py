"""The search algorithms and their settings, by the rules of the services that run them in Katib 0.19.

Those services refuse a setting only when the search has been created, and some fail on it for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hyperflow.errors import InvalidParameter, one_of
from hyperflow.specs.values import reads_as_number

_WHOLE = re.compile(r"[0-9]+")
_LARGEST_SEED = 2**32 - 1  # NumPy takes no larger one


@dataclass(frozen=True)
class Setting:
    """What one setting may be.

    Args:
        allowed: What would do, for people.
        fits: Tells whether a text is among it.
    """

    allowed: str
    fits: Callable[[str], bool]


def _whole(least: int, most: float = float("inf"), allowed: str = "") -> Setting:
    return Setting(
        allowed or f"a whole number from {least}",
        lambda text: bool(_WHOLE.fullmatch(text)) and least <= int(text) <= most,
    )


def _number(allowed: str, fits: Callable[[float], bool]) -> Setting:
    return Setting(allowed, lambda text: reads_as_number(text) and fits(float(text)))


_SEED = _whole(0, _LARGEST_SEED, f"a whole number from 0 up to {_LARGEST_SEED}")
_RESTARTS = ("none", "ipop", "bipop")

ALGORITHMS: Mapping[str, Mapping[str, Setting]] = MappingProxyType(
    {
        "random": {"random_state": _SEED},
        "grid": {"random_state": _SEED},
        "tpe": {
            "gamma": _number("a number above 0 and below 1", lambda number: 0 < number < 1),
            "prior_weight": _number("a number above 0", lambda number: number > 0),
            "n_EI_candidates": _whole(1),
            "random_state": _SEED,
        },
        "multivariate-tpe": {"n_startup_trials": _whole(0), "n_ei_candidates": _whole(1), "random_state": _SEED},
        "cmaes": {
            "sigma": _number("a number above 0", lambda number: number > 0),
            "restart_strategy": Setting(one_of(_RESTARTS), lambda text: text in _RESTARTS),
            "random_state": _SEED,
        },
        "sobol": {"random_state": _SEED},
        "hyperband": {
            "r_l": _number("a number from 1, the most of the resource", lambda number: number >= 1),
            "resource_name": Setting("the name of a parameter in the search space", bool),
            "eta": _whole(2),
            "random_state": _SEED,
        },
    }
)
"""Katib's algorithm names that both engines have, and the settings each takes."""


def check_settings(algorithm: str, settings: Mapping[str, str]) -> None:
    """Refuse settings that an algorithm does not have, lacks or could not work with.

    Raises:
        InvalidParameter: One of them.
    """
    known = ALGORITHMS[algorithm]
    for name, value in settings.items():
        if name not in known:
            allowed = f"settings that {algorithm} has: {one_of(known)}"
            raise InvalidParameter(f"algorithm_settings[{name}]", value, allowed)
        if not known[name].fits(value):
            raise InvalidParameter(f"algorithm_settings[{name}]", value, known[name].allowed)
    for name in ("r_l", "resource_name") if algorithm == "hyperband" else ():
        if name not in settings:
            raise InvalidParameter("algorithm_settings", dict(settings), f"hyperband's {name} too")
