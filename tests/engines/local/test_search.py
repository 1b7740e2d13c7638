"""Searches of this machine's own engine, with trials as processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.engines.local import LocalEngine
from hyperflow.engines.search.queues import brackets
from hyperflow.specs import Algorithm, Dimension, EarlyStopping
from tests.conformance.test_engine import X, trainer, tuning


@pytest.fixture(autouse=True)
def _volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))


def test_bad_trial_is_stopped_early() -> None:
    space = (Dimension("x", "discrete", values=(0.3, 1.0)),)
    result = LocalEngine().tune(
        tuning(
            algorithm=Algorithm("grid"), search_space=space, max_trials=2, parallel_trials=1, epochs=60,
            early_stopping=EarlyStopping(1, 3), trainer=trainer(pause=0.02),
        )
    )  # fmt: skip
    good, bad = result.trials
    assert (good.status, good.metrics["epoch"]) == ("succeeded", 60)
    assert bad.status == "early-stopped"
    assert 3 <= bad.metrics["epoch"] < 60


def test_hyperband_gives_each_trial_the_epochs_of_its_rung() -> None:
    space = (X, Dimension("epochs", "int", 1, 4))
    algorithm = Algorithm("hyperband", {"r_l": "4", "eta": "2", "resource_name": "epochs", "random_state": "1"})
    result = LocalEngine().tune(tuning(algorithm=algorithm, search_space=space, max_trials=30, parallel_trials=4))
    wanted = [rung.resource for rungs in brackets(most=4, eta=2) for rung in rungs for _ in range(rung.trials)]
    assert [trial.parameters["epochs"] for trial in result.trials] == wanted
    assert [trial.metrics["epoch"] for trial in result.trials] == wanted
    assert result.best.parameters["epochs"] == 4
