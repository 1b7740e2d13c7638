"""Have one trial run, and note in the study how it ended."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import optuna
from optuna.trial import TrialState

from hyperflow import metrics
from hyperflow.engines.search import checkpoints
from hyperflow.engines.search import study as studies
from hyperflow.engines.search.checkpoints import Checkpoints
from hyperflow.specs import TuneSpec, Value


class Reader:
    """What one trial has printed so far, as far as it counts.

    Args:
        trial: Its number, values and reports.
        objective: The metric that it is judged by.
        goes_on: Whether it goes on from a checkpoint when it begins again.
    """

    def __init__(self, trial: optuna.Trial, objective: str, goes_on: bool = False) -> None:
        self._trial, self._objective, self._goes_on = trial, objective, goes_on
        self.seen: dict[str, list[float]] = {}
        self.pruned = False
        self.cores = self.memory = 0  # for a runner that knows them to say

    def line(self, text: str) -> bool:
        """Read a line as it is printed; return whether the trial is worth going on with."""
        for name, value in metrics.parse_line(text).items():
            self.seen.setdefault(name, []).append(value)
            if name == self._objective and not self.pruned:
                self._report(value, len(self.seen[name]))
        return not self.pruned

    def restart(self) -> None:
        """Forget what was read of a trial that was lost with its machine and trains anew elsewhere."""
        if not self._goes_on:
            self.seen.clear()

    def _report(self, value: float, step: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one that is read again has reported this step already
            self._trial.report(value, step)
        self.pruned = self._trial.should_prune()


class Runner(Protocol):
    """What runs trials: processes of this machine, or jobs of a cluster. Called from several threads at once."""

    survives: bool
    """Whether a trial goes on when the search is killed, and is found again by its number."""

    def run(
        self, number: int, parameters: Mapping[str, Value], reader: Reader, checkpoints: Checkpoints | None
    ) -> int | None:
        """Run a trial to its end, or stop it when the reader has seen enough.

        Args:
            number: The trial's number in its search.
            parameters: Its values.
            reader: Given every line that it prints.
            checkpoints: Where it keeps them, if it does.

        Returns:
            The exit code, or None where the trial was stopped with the search.
        """

    def stop(self, for_good: bool) -> None:
        """Let no trial start, and end those that run; they may be left alone where the search may go on later.

        Args:
            for_good: Whether the search is over.
        """

    def seconds_queued(self) -> float:
        """Return for how long all trials waited for their turn in a queue, which counts against no limit."""

    def last_words(self, number: int) -> str:
        """Say what is known of a trial that ended badly."""


class Trials:
    """The trials of one search.

    Args:
        spec: What is searched for.
        study: Where their ends are noted.
        folder: Where their logs are.
        runner: What runs them.
    """

    def __init__(self, spec: TuneSpec, study: optuna.Study, folder: Path, runner: Runner) -> None:
        self._spec, self._study, self._folder, self._runner = spec, study, folder, runner

    def run(self, trial: optuna.Trial) -> None:
        """Run a trial to its end; one that is stopped with the search is not noted, and so is taken up again."""
        kept = checkpoints.of(self._spec, trial)
        started, reader = time.monotonic(), Reader(trial, self._spec.objective.metric, goes_on=kept is not None)
        for number in checkpoints.earlier(self._study, trial):
            for line in _whole_lines(log_of(self._folder, number)):
                reader.line(line)
        code = self._runner.run(trial.number, trial.params, reader, kept)
        if code is None:
            return
        trial.set_user_attr(studies.SECONDS, round(time.monotonic() - started, 3))
        trial.set_user_attr(studies.EXIT_CODE, code)
        trial.set_user_attr(studies.METRICS, {name: values[-1] for name, values in reader.seen.items()})
        trial.set_user_attr(studies.CORES, reader.cores)
        trial.set_user_attr(studies.MEMORY, reader.memory)
        self._tell(trial, code, reader.seen.get(self._spec.objective.metric, []), reader.pruned)

    def _tell(self, trial: optuna.Trial, code: int, values: list[float], pruned: bool) -> None:
        finite = [value for value in values if math.isfinite(value) and abs(value) < metrics.PENALTY]
        if pruned:
            self._end(trial, "early-stopped", TrialState.PRUNED)
        elif code != 0:
            self._end(trial, "failed", TrialState.FAIL)
        elif not finite:
            self._end(trial, "metrics-unavailable", TrialState.FAIL)
        else:
            self._end(trial, "succeeded", TrialState.COMPLETE, self._spec.objective.best(finite))

    def _end(self, trial: optuna.Trial, status: str, state: TrialState, value: float | None = None) -> None:
        trial.set_user_attr(studies.STATUS, status)
        self._study.tell(trial, value, state)


def log_of(folder: Path, number: int) -> Path:
    """Return where the output of a search's trial goes."""
    return folder / f"trial-{number:03d}.log"


def _whole_lines(log: Path) -> list[str]:
    """Read what a killed trial printed; of a line that was cut off the last number may be another one."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()
