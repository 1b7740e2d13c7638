"""Searches of this machine's own engine, with trials as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.engines.local import LocalEngine
from hyperflow.engines.search import log_of
from hyperflow.engines.search import search as searching
from hyperflow.engines.search.queues import brackets
from hyperflow.specs import Algorithm, Dimension, EarlyStopping, Objective, TuneSpec
from hyperflow.volume import paths
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


def by_epochs(ledger: Path, pause: float = 0.0, linger: str = "") -> TuneSpec:
    """Hyperband that gives epochs, with a trainer that goes on from checkpoints and notes every epoch it begins."""
    space = (X, Dimension("epochs", "int", 1, 4))
    algorithm = Algorithm("hyperband", {"r_l": "4", "eta": "2", "resource_name": "epochs", "random_state": "1"})
    return tuning(
        algorithm=algorithm, search_space=space, max_trials=30, parallel_trials=2,
        trainer=trainer(ledger=ledger, pause=pause, linger=linger),
    )  # fmt: skip


def epochs_begun(ledger: Path) -> Counter[tuple[str, str]]:
    """Count how often each epoch of each value was begun."""
    return Counter((x, epoch) for x, epoch in (line.split() for line in ledger.read_text().splitlines()))


def test_a_trial_that_hyperband_takes_up_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    result = LocalEngine().tune(by_epochs(ledger))
    begun = epochs_begun(ledger)
    assert set(begun.values()) == {1}
    assert not list(paths.tuning("run-1").glob("*-checkpoint"))  # nobody goes on any more
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
LocalEngine().tune(by_epochs(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
"""


def test_hyperband_killed_again_and_again_begins_no_finished_epoch_twice(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    kills = 0
    while True:
        step = subprocess.Popen([sys.executable, "-c", _TUNE, str(ledger), "0.15", ""], cwd=Path(__file__).parents[3])
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


def test_killed_when_a_rung_had_only_to_end_no_epoch_is_trained_twice_and_no_trial_is_lost(tmp_path: Path) -> None:
    ledger, linger, folder = tmp_path / "ledger", tmp_path / "linger", paths.tuning("run-1")
    linger.touch()
    command = [sys.executable, "-c", _TUNE, str(ledger), "0", str(linger)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as step:
        while len(list(folder.glob("*-checkpoint/epoch"))) < 2:
            assert step.poll() is None
            time.sleep(0.02)
        step.kill()
    linger.unlink()
    result = LocalEngine().tune(by_epochs(ledger, linger=str(linger)))
    begun = epochs_begun(ledger)
    assert set(begun.values()) == {1}
    assert {trial.status for trial in result.trials} == {"succeeded"}
    wanted = [rung.resource for rungs in brackets(most=4, eta=2) for rung in rungs for _ in range(rung.trials)]
    assert sorted(int(trial.parameters["epochs"]) for trial in result.trials) == sorted(wanted)
    assert sorted(trial.metrics["epoch"] for trial in result.trials) == sorted(wanted)
    alone = [trial for trial in result.trials if trial.parameters["epochs"] == 1]
    assert all(
        trial.value == pytest.approx(0.9 - (float(trial.parameters["x"]) - 0.3) ** 2, abs=1e-5) for trial in alone
    )


_ONE_TRIAL = """
import sys
from tests.engines.local.test_search import of_one_trial
from hyperflow.engines.local import LocalEngine
LocalEngine().tune(of_one_trial())
"""


def of_one_trial() -> TuneSpec:
    """Hyperband of one rung of one trial with two epochs, of which the first gives the best value."""
    return tuning(
        algorithm=Algorithm("hyperband", {"r_l": "2", "eta": "3", "resource_name": "epochs", "random_state": "1"}),
        search_space=(X, Dimension("epochs", "int", 1, 2)), objective=Objective("epoch", "minimize"), max_trials=1,
        trainer=trainer(pause=0.5),
    )  # fmt: skip


def test_what_a_trial_printed_before_it_was_killed_counts_when_it_goes_on() -> None:
    log = log_of(paths.tuning("run-1"), 0)
    with subprocess.Popen([sys.executable, "-c", _ONE_TRIAL], cwd=Path(__file__).parents[3]) as step:
        while not log.exists() or "epoch=1" not in log.read_text() or not list(log.parent.glob("*-checkpoint/epoch")):
            assert step.poll() is None
            time.sleep(0.02)
        step.kill()
    result = LocalEngine().tune(of_one_trial())
    assert log_of(log.parent, 1).read_text().startswith("epoch=2 ")
    assert (result.best.value, result.best.metrics["epoch"]) == (1.0, 2.0)


@pytest.mark.timeout(20)
def test_signal_that_another_thread_got_ends_the_wait_for_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "_GLANCE", 60.0)
    before = signal.signal(signal.SIGUSR1, told)
    elsewhere = threading.Timer(2, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
    try:
        elsewhere.start()
        with pytest.raises(KeyboardInterrupt):
            LocalEngine().tune(tuning(max_trials=1, parallel_trials=1, trainer=trainer(pause=60)))
    finally:
        signal.signal(signal.SIGUSR1, before)
