"""Every algorithm, and early stopping, on every engine; no test here knows which one it runs."""

from __future__ import annotations

import pytest

from hyperflow.engines import Engine
from hyperflow.specs import ALGORITHMS, Algorithm, Dimension, EarlyStopping
from tests.conformance.test_engine import trainer, tuning

K = Dimension("k", "int", 1, 3)
STEPPED = (Dimension("x", "double", 0.0, 1.0, step=0.25), K)  # a grid needs steps
FREE = (Dimension("x", "double", 0.0, 1.0), K)  # Katib's hyperband knows none
SETTINGS = {"hyperband": {"r_l": "2", "eta": "2", "resource_name": "k"}}


class TestTune:
    @pytest.mark.parametrize("name", ALGORITHMS)
    def test_each_algorithm_comes_to_its_best_trial_though_the_imitation_draws_them_all_at_random(
        self, engine: Engine, name: str
    ) -> None:
        algorithm = Algorithm(name, {"random_state": "1", **SETTINGS.get(name, {})})
        space = FREE if name == "hyperband" else STEPPED
        at_once = 1 if name == "grid" else 3  # Katib loses points of a grid of several at once
        result = engine.tune(tuning(algorithm=algorithm, search_space=space, max_trials=3, parallel_trials=at_once))
        assert [trial.status for trial in result.trials] == ["succeeded"] * 3
        assert result.best.value == max(trial.value or 0 for trial in result.trials)
        for trial in result.trials:
            x, k = float(trial.parameters["x"]), trial.parameters["k"]
            assert 0 <= x <= 1
            assert k in (1, 2, 3)
            assert trial.value == pytest.approx(1 - (x - 0.3) ** 2 - 0.05, abs=1e-5)

    def test_early_stopping_leaves_the_best_trial_alone_though_the_imitation_stops_none(self, engine: Engine) -> None:
        spec = tuning(early_stopping=EarlyStopping(1, 1), parallel_trials=1, epochs=3, trainer=trainer(pause=0.1))
        result = engine.tune(spec)
        assert len(result.trials) == 4
        assert {trial.status for trial in result.trials} <= {"succeeded", "early-stopped"}
        assert result.best.status == "succeeded"
        assert result.best.value == max(trial.value or 0 for trial in result.trials if trial.status == "succeeded")
