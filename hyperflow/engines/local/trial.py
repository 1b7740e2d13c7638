"""Run one trial as a process, and note in the study how it ended."""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path

import optuna
from optuna.trial import TrialState

from hyperflow import metrics
from hyperflow.engines.local import study as studies
from hyperflow.engines.local.processes import Job
from hyperflow.specs import TuneSpec


class Trials:
    """The trials of one search that run now.

    Args:
        spec: What is searched for.
        study: Where their ends are noted.
        folder: Where their logs go.
    """

    def __init__(self, spec: TuneSpec, study: optuna.Study, folder: Path) -> None:
        self._spec, self._study, self._folder = spec, study, folder
        self._jobs: dict[int, Job] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def run(self, trial: optuna.Trial) -> None:
        """Run a trial to its end; one that is stopped with the search is not noted, and so runs again."""
        spec = self._spec
        argv = spec.trainer.argv(spec.data_path, trial.params, spec.epochs)
        env = {**os.environ, "HYPERFLOW_THREADS": str(_threads(spec.parallel_trials)), "PYTHONUNBUFFERED": "1"}
        log = log_of(self._folder, trial.number)
        log.unlink(missing_ok=True)
        started = time.monotonic()
        with self._lock:
            if self._stopping:
                return
            job = self._jobs[trial.number] = Job(argv, env, log)
        seen, pruned = self._follow(trial, job)
        code = job.wait()
        with self._lock:
            del self._jobs[trial.number]
            if self._stopping:
                return
        trial.set_user_attr(studies.SECONDS, round(time.monotonic() - started, 3))
        trial.set_user_attr(studies.EXIT_CODE, code)
        trial.set_user_attr(studies.METRICS, {name: values[-1] for name, values in seen.items()})
        self._tell(trial, code, seen.get(spec.objective.metric, []), pruned)

    def stop(self) -> None:
        """End every trial that runs, and let none start."""
        with self._lock:
            self._stopping = True
            for job in self._jobs.values():
                job.stop()

    def _follow(self, trial: optuna.Trial, job: Job) -> tuple[dict[str, list[float]], bool]:
        """Read a trial's metrics as it prints them, and stop it when the pruner says so."""
        seen: dict[str, list[float]] = {}
        pruned = False
        for line in job.lines():
            for name, value in metrics.parse_line(line).items():
                seen.setdefault(name, []).append(value)
                if name == self._spec.objective.metric and not pruned:
                    trial.report(value, len(seen[name]))
                    pruned = trial.should_prune()
                    if pruned:
                        job.stop()
        return seen, pruned

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


def _threads(parallel: int) -> int:
    return max(1, (os.cpu_count() or 1) // parallel)
