"""Optuna's counterpart of each of Katib's algorithms, with the settings it takes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler

from hyperflow.errors import InvalidParameter, one_of
from hyperflow.specs import Algorithm

_MOST_STARTUP = 10  # random trials before TPE's own, at most; Optuna's default for any space
_CANDIDATES = 24  # what hyperopt and Optuna both begin with
_MOST_GOOD = 25  # trials that TPE calls good, at most; hyperopt's limit


class Settings:
    """An algorithm's settings, read by name.

    Args:
        algorithm: Whose settings.
        dimensions: How many parameters the search has.
        already: Trials that the search has made before; the seed moves on with them, as a search that is
            taken up must not draw the same again.
    """

    def __init__(self, algorithm: Algorithm, dimensions: int = 0, already: int = 0) -> None:
        self._texts, self._dimensions, self._already = algorithm.settings, dimensions, already

    @property
    def seed(self) -> int | None:
        """The seed of what is still to be drawn, or None."""
        return self.whole("random_state", 0, 0) + self._already if "random_state" in self._texts else None

    @property
    def startup(self) -> int:
        """How many random trials TPE begins with by default: one more than parameters, at most Optuna's 10."""
        return min(self._dimensions + 1, _MOST_STARTUP)

    def whole(self, name: str, default: int, least: int) -> int:
        """Read a whole number.

        Raises:
            InvalidParameter: It is none, or too small.
        """
        number = float(self._texts.get(name, default))
        if not number.is_integer() or number < least:
            raise InvalidParameter(f"algorithm_settings[{name}]", self._texts[name], f"a whole number from {least}")
        return int(number)

    def positive(self, name: str, below: float = math.inf) -> float | None:
        """Read a number above 0, or None where there is no such setting.

        Raises:
            InvalidParameter: It is out of bounds.
        """
        if name not in self._texts:
            return None
        number = float(self._texts[name])
        if not 0 < number < below:
            allowed = "a number above 0" + ("" if below == math.inf else f" and below {below:g}")
            raise InvalidParameter(f"algorithm_settings[{name}]", self._texts[name], allowed)
        return number

    def only(self, name: str, values: tuple[str, ...]) -> None:
        """Refuse what the sampler has not got.

        Raises:
            InvalidParameter: It is another value.
        """
        given = self._texts.get(name, values[0])
        if given not in values:
            allowed = f"{one_of(values)}: our own search has nothing else"
            raise InvalidParameter(f"algorithm_settings[{name}]", given, allowed)


def make(algorithm: Algorithm, dimensions: int, already: int = 0) -> BaseSampler:
    """Make the sampler of an algorithm.

    Args:
        algorithm: What was asked for.
        dimensions: How many parameters the search has.
        already: Trials that the search has made before.

    Raises:
        InvalidParameter: There is none for it, or it cannot have a setting.
    """
    if algorithm.name not in SAMPLERS:
        raise InvalidParameter("algorithm", algorithm.name, f"{one_of(SAMPLERS)}: our own search has nothing else")
    with warnings.catch_warnings():
        # sigma, prior_weight and Sobol's sequence do what they say in the version that the lock names
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", ExperimentalWarning)
        return SAMPLERS[algorithm.name](Settings(algorithm, dimensions, already))


def _random(settings: Settings) -> BaseSampler:
    return optuna.samplers.RandomSampler(settings.seed)


def _tpe(settings: Settings) -> BaseSampler:
    gamma = settings.positive("gamma", below=1)
    return optuna.samplers.TPESampler(
        n_startup_trials=settings.startup,
        n_ei_candidates=settings.whole("n_EI_candidates", _CANDIDATES, 1),
        prior_weight=settings.positive("prior_weight"),
        gamma=None if gamma is None else lambda trials: min(math.ceil(gamma * math.sqrt(trials)), _MOST_GOOD),
        seed=settings.seed,
    )


def _multivariate_tpe(settings: Settings) -> BaseSampler:
    return optuna.samplers.TPESampler(
        multivariate=True,
        n_startup_trials=settings.whole("n_startup_trials", settings.startup, 0),
        n_ei_candidates=settings.whole("n_ei_candidates", _CANDIDATES, 1),
        seed=settings.seed,
    )


def _cmaes(settings: Settings) -> BaseSampler:
    settings.only("restart_strategy", ("none",))
    sigma = settings.positive("sigma")
    return optuna.samplers.CmaEsSampler(sigma0=sigma, seed=settings.seed, warn_independent_sampling=False)


def _sobol(settings: Settings) -> BaseSampler:
    # one sequence a search, whoever takes it up: Optuna keeps the place in it with the study
    seed = settings.whole("random_state", 0, 0)
    return optuna.samplers.QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)


SAMPLERS: Mapping[str, Callable[[Settings], BaseSampler]] = MappingProxyType(
    {
        "random": _random,
        "grid": _random,  # every value comes from the grid's queue
        "tpe": _tpe,
        "multivariate-tpe": _multivariate_tpe,
        "cmaes": _cmaes,
        "sobol": _sobol,
        "hyperband": _random,  # as the paper has it; the rungs come from their queue
    }
)
"""Every algorithm that this engine has, and what makes its sampler."""
