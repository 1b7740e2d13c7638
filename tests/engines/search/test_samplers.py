"""Each algorithm has its sampler, and each setting reaches it."""

from __future__ import annotations

import warnings

import optuna
import pytest
from optuna.distributions import FloatDistribution

from hyperflow.engines.search import samplers
from hyperflow.errors import InvalidParameter
from hyperflow.specs import ALGORITHMS, Algorithm, algorithms
from hyperflow.specs import search as search_specs

SPACE: dict[str, optuna.distributions.BaseDistribution] = {
    "x": FloatDistribution(0, 1),
    "y": FloatDistribution(0, 1),
}
HYPERBAND = {"r_l": "9", "resource_name": "epochs"}

EFFECTS = {
    **{(name, "random_state"): ("1", "2") for name in ALGORITHMS if name != "grid"},
    ("tpe", "gamma"): ("0.1", "0.9"),
    ("tpe", "prior_weight"): ("0.1", "50"),
    ("tpe", "n_EI_candidates"): ("1", "50"),
    ("multivariate-tpe", "n_startup_trials"): ("1", "11"),
    ("multivariate-tpe", "n_ei_candidates"): ("1", "50"),
    ("cmaes", "sigma"): ("0.01", "0.9"),
}
"""Two values of each setting with which a sampler draws differently."""

ELSEWHERE = {
    ("grid", "random_state"),  # the order of the grid: test_queues
    ("hyperband", "r_l"), ("hyperband", "eta"), ("hyperband", "resource_name"),  # the rungs: test_queues
    ("cmaes", "restart_strategy"),  # refused below
}  # fmt: skip


def drawn(algorithm: Algorithm, trials: int = 12) -> list[dict[str, float]]:
    """Search for the maximum of a known function; return all that was tried."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=samplers.make(algorithm, len(SPACE)), direction="maximize")
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, 1 - (trial.params["x"] - 0.3) ** 2 - (trial.params["y"] - 0.7) ** 2)
    return [trial.params for trial in study.trials]


def with_setting(name: str, setting: str, value: str) -> Algorithm:
    return Algorithm(name, {"random_state": "1", **(HYPERBAND if name == "hyperband" else {}), setting: value})


def test_every_algorithm_has_a_sampler() -> None:
    assert set(samplers.SAMPLERS) == set(ALGORITHMS)


def test_every_setting_is_tried_here_or_elsewhere() -> None:
    assert EFFECTS.keys() | ELSEWHERE == {(name, setting) for name in ALGORITHMS for setting in ALGORITHMS[name]}


@pytest.mark.parametrize(("name", "setting"), EFFECTS)
def test_setting_reaches_the_sampler(name: str, setting: str) -> None:
    one, other = EFFECTS[name, setting]
    first = drawn(with_setting(name, setting, one))
    assert first == drawn(with_setting(name, setting, one))
    assert first != drawn(with_setting(name, setting, other))


def test_algorithm_without_a_sampler_is_refused_and_not_searched_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (search_specs, algorithms):
        monkeypatch.setattr(module, "ALGORITHMS", {**ALGORITHMS, "annealing": {}})
    with pytest.raises(InvalidParameter, match="annealing") as refused:
        samplers.make(Algorithm("annealing"), 1)
    assert refused.value.name == "algorithm"


@pytest.mark.parametrize("strategy", ["ipop", "bipop"])
def test_restarts_that_optuna_has_no_longer_are_refused(strategy: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        samplers.make(Algorithm("cmaes", {"restart_strategy": strategy}), 1)
    assert refused.value.name == "algorithm_settings[restart_strategy]"
    samplers.make(Algorithm("cmaes", {"restart_strategy": "none"}), 1)


def test_search_that_is_taken_up_draws_anew() -> None:
    algorithm = Algorithm("random", {"random_state": "1"})
    again = optuna.create_study(sampler=samplers.make(algorithm, len(SPACE), already=3)).ask(SPACE).params
    assert again not in drawn(algorithm)


def test_what_optuna_may_change_one_day_says_nothing_to_the_user() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samplers.make(Algorithm("tpe", {"prior_weight": "2"}), 1)
        samplers.make(Algorithm("cmaes", {"sigma": "0.2"}), 1)
        samplers.make(Algorithm("sobol"), 1)


@pytest.mark.parametrize(
    ("name", "dimensions", "startup"), [("tpe", 2, 3), ("multivariate-tpe", 6, 7), ("tpe", 30, 10)]
)
def test_tpe_begins_with_one_random_trial_more_than_there_are_parameters(
    name: str, dimensions: int, startup: int
) -> None:
    """Random draws do not depend on results: the first trial that does is TPE's."""

    def draws(sign: int) -> list[dict[str, float]]:
        space: dict[str, optuna.distributions.BaseDistribution] = {
            f"x{place}": FloatDistribution(0, 1) for place in range(dimensions)
        }
        study = optuna.create_study(sampler=samplers.make(Algorithm(name, {"random_state": "1"}), dimensions))
        for _ in range(startup + 1):
            trial = study.ask(space)
            study.tell(trial, sign * sum(trial.params.values()))
        return [trial.params for trial in study.trials]

    up, down = draws(1), draws(-1)
    assert up[:startup] == down[:startup]
    assert up[startup] != down[startup]
