"""Searches of this machine's own engine, with trials as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.engines.local import LocalEngine
from hyperflow.engines.search.queues import brackets
from hyperflow.specs import Algorithm, Dimension, EarlyStopping, TuneSpec
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


def by_epochs(ledger: Path, pause: float = 0.0) -> TuneSpec:
    """Hyperband that gives epochs, with a trainer that goes on from checkpoints and notes every epoch it begins."""
    space = (X, Dimension("epochs", "int", 1, 4))
    algorithm = Algorithm("hyperband", {"r_l": "4", "eta": "2", "resource_name": "epochs", "random_state": "1"})
    return tuning(
        algorithm=algorithm, search_space=space, max_trials=30, parallel_trials=2,
        trainer=trainer(ledger=ledger, pause=pause),
    )  # fmt: skip


def epochs_begun(ledger: Path) -> Counter[tuple[str, str]]:
    """Count how often each epoch of each value was begun."""
    return Counter((x, epoch) for x, epoch in (line.split() for line in ledger.read_text().splitlines()))


def test_a_trial_that_hyperband_takes_up_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    result = LocalEngine().tune(by_epochs(ledger))
    begun = epochs_begun(ledger)
    assert set(begun.values()) == {1}
    most: dict[str, int] = {}
    for trial in result.trials:
        x = str(trial.parameters["x"])
        most[x] = max(most.get(x, 0), int(trial.parameters["epochs"]))
        assert trial.value == pytest.approx(1 - (float(x) - 0.3) ** 2 - 0.1 / int(trial.parameters["epochs"]), abs=1e-5)
    assert sum(begun.values()) == sum(most.values()) < sum(int(trial.parameters["epochs"]) for trial in result.trials)


_TUNE = """
import sys
from pathlib import Path
from hyperflow.engines.local import LocalEngine
from tests.engines.local.test_search import by_epochs
LocalEngine().tune(by_epochs(Path(sys.argv[1]), pause=0.15))
"""


def test_hyperband_killed_again_and_again_begins_no_finished_epoch_twice(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    kills = 0
    while True:
        step = subprocess.Popen([sys.executable, "-c", _TUNE, str(ledger)], cwd=Path(__file__).parents[3])
        seen = len(ledger.read_text().splitlines()) if ledger.exists() else 0
        while step.poll() is None and (
            kills == 4 or not ledger.exists() or len(ledger.read_text().split("\n")) < seen + 6
        ):
            time.sleep(0.02)
        if step.poll() is not None:
            break
        os.kill(step.pid, signal.SIGKILL)
        kills += 1
        step.wait()
    assert (step.returncode, kills) == (0, 4)
    result = LocalEngine().tune(by_epochs(ledger, pause=0.15))  # all there: nothing is begun
    begun = epochs_begun(ledger)
    again = [place for place, times in begun.items() if times > 1]
    assert len(again) <= 2 * kills  # each kill cuts two trials off, each in one epoch
    wanted = [rung.resource for rungs in brackets(most=4, eta=2) for rung in rungs for _ in range(rung.trials)]
    assert sorted(int(trial.parameters["epochs"]) for trial in result.trials) == sorted(wanted)
