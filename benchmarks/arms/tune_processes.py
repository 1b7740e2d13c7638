"""Katib's way on one machine: random search without pruning, a new process for each trial, some at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import optuna

from benchmarks.arms.spaces import SPACES, ask_optuna
from hyperflow import metrics
from hyperflow.fashion.train import THREADS


class Trials:
    """Trials of one search; the goal, once reached by one, ends those that run and lets none begin."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked, self.lock, self.reached = asked, threading.Lock(), threading.Event()
        self.running: set[subprocess.Popen[str]] = set()
        self.values: list[float] = []
        self.study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(asked["seed"]))

    def one(self, _: int) -> None:
        """Run a trial to its end."""
        with self.lock:
            if self.reached.is_set():
                return
            values = ask_optuna(self.study.ask(), SPACES[self.asked["space"]])
            words = [f"--{name}={value}" for name, value in {**self.asked["arguments"], **values}.items()]
            threads = max(1, len(os.sched_getaffinity(0)) // self.asked["parallel"])
            process = subprocess.Popen(
                [sys.executable, "-m", "hyperflow.fashion.train", f"--data-path={self.asked['data_path']}", *words],
                stdout=subprocess.PIPE, text=True, env={**os.environ, THREADS: str(threads)},
            )  # fmt: skip
            self.running.add(process)
        assert process.stdout is not None
        for line in process.stdout:
            self._read(line)
        code = process.wait()
        with self.lock:
            self.running.discard(process)
            if code and not self.reached.is_set():
                raise RuntimeError(f"a trial ended with {code}: {words}")

    def _read(self, line: str) -> None:
        value = metrics.parse_line(line).get("validation-accuracy")
        if value is None:
            return
        with self.lock:
            self.values.append(value)
            if value >= self.asked["target"] and not self.reached.is_set():
                self.reached.set()
                for process in self.running:
                    process.kill()


def main() -> None:
    asked = json.loads(sys.argv[1])
    optuna.logging.disable_default_handler()
    trials = Trials(asked)
    with ThreadPoolExecutor(asked["parallel"]) as pool:
        list(pool.map(trials.one, range(asked["trials"])))
    print(json.dumps({"best": max(trials.values), "trials": len(trials.study.trials)}))


if __name__ == "__main__":
    main()
