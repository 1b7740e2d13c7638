"""Run trials as processes of this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from hyperflow.engines.local.processes import Job, tail
from hyperflow.engines.search import Checkpoints, Reader, log_of
from hyperflow.specs import TuneSpec, Value


class Processes:
    """The trials of one search that run now.

    Args:
        spec: What is searched for.
        folder: Where their logs go.
    """

    survives = False

    def __init__(self, spec: TuneSpec, folder: Path) -> None:
        self._spec, self._folder = spec, folder
        self._jobs: dict[int, Job] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def run(
        self, number: int, parameters: Mapping[str, Value], reader: Reader, checkpoints: Checkpoints | None
    ) -> int | None:
        """Run a trial to its end, or stop it when the reader has seen enough."""
        spec, log, threads = self._spec, log_of(self._folder, number), _threads(self._spec.parallel_trials)
        argv = spec.trainer.argv(spec.data_path, parameters, spec.epochs)
        env = {**os.environ, "HYPERFLOW_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
        env |= checkpoints.environment(self._folder) if checkpoints else {}
        log.unlink(missing_ok=True)
        with self._lock:
            if self._stopping:
                return None
            job = self._jobs[number] = Job(argv, env, log)
        reader.cores, reader.memory = threads, job.memory()  # a short one may have ended when its first line is read
        for line in job.lines():
            reader.memory = max(reader.memory, job.memory())
            if not reader.line(line):
                job.stop()
        code = job.wait()
        with self._lock:
            del self._jobs[number]
            return None if self._stopping else code

    def stop(self, for_good: bool) -> None:
        """End every trial that runs, and let none start."""
        with self._lock:
            self._stopping = True
            for job in self._jobs.values():
                job.stop()

    def seconds_queued(self) -> float:
        """Return 0: a process waits for nobody."""
        return 0.0

    def last_words(self, number: int) -> str:
        """Return the end of a trial's log."""
        return f"its log ends with\n{tail(log_of(self._folder, number), 12)}"


def _threads(parallel: int) -> int:
    return max(1, (os.cpu_count() or 1) // parallel)
