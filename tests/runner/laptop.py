"""Whole runs on the small data set, as a user starts them: real processes, real TensorFlow, real HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "data" / "fashion-mnist-small"
QUICK = (
    f"data_source={SMALL}", "dataset=small", "max_trials=2", "epochs=3", "accuracy_floor=0.3",
    "smoke_accuracy_floor=0.3", "smoke_instances=50", 'trainer_arguments={"model": "mlp"}', "trial_arguments={}",
)  # fmt: skip


@dataclass
class Laptop:
    """A volume and the command line."""

    volume: Path
    pages: list[str] = field(default_factory=list)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *words: str, values: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
        settings = [word for value in (*QUICK, *values) for word in ("--set", value)] if words[0] == "run" else []
        process = subprocess.Popen(
            [sys.executable, "-m", "hyperflow", *words, *settings, "--folder", str(self.volume)],
            cwd=ROOT, env={**os.environ, "COLUMNS": "300", **environment}, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.started.append(process)
        return process

    def call(self, *words: str, values: Sequence[str] = (), **environment: str) -> tuple[int, str]:
        process = self.start(*words, values=values, **environment)
        output, _ = process.communicate(timeout=200)
        return process.returncode, output

    def watch(self, process: subprocess.Popen[str]) -> str:
        """Read what a run says until it ends, and its page as a browser does, which needs no look at what was seen."""
        assert process.stdout
        said = [process.stdout.readline(), process.stdout.readline()]
        address = said[-1].split(" at ")[-1].strip()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(process.stdout.read)
            seen: str | None = ""
            while seen is not None and process.poll() is None:
                with urllib.request.urlopen(f"{address}/now?seen={seen}", timeout=60) as answer:
                    self.pages += [answer.read().decode()] if answer.status == 200 else []
                    seen = answer.headers["ETag"] if answer.status == 200 else seen
            return "".join([*said, reading.result()])

    def again(self, *words: str) -> tuple[int, str]:
        """Call with what is typed alone, without the settings of a quick run."""
        command = [sys.executable, "-m", "hyperflow", *words, "--folder", str(self.volume)]
        environment = {**os.environ, "COLUMNS": "300"}
        done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=200)
        return done.returncode, done.stdout + done.stderr

    def summary(self, run_id: str) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.volume / "runs" / run_id / "summary.json").read_text())
        return summary

    def processes(self) -> list[psutil.Process]:
        """Whatever runs on this volume now."""
        return [p for p in psutil.process_iter() if p.pid != os.getpid() and str(self.volume) in _about(p)]

    def assert_nothing_runs(self, seconds: float = 20) -> None:
        wait_for(lambda: not self.processes(), seconds, lambda: f"left: {[_about(p) for p in self.processes()]}")

    def assert_nothing_is_half_written(self) -> None:
        assert [path for path in self.volume.rglob("*.partial") if "runs" not in path.parts] == []

    def kill(self, process: subprocess.Popen[str]) -> None:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition: Callable[[], object], seconds: float = 90, why: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


def _about(process: psutil.Process) -> str:
    try:
        return " ".join([*process.cmdline(), *process.environ().values()])
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return ""


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    made = Laptop(tmp_path / "volume")
    yield made
    for process in made.started:
        if process.poll() is None:
            made.kill(process)
    for left in made.processes():
        left.kill()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Laptop, str]]:
    """One whole run, to be looked at by many tests."""
    made = Laptop(tmp_path_factory.mktemp("laptop") / "volume")
    process = made.start("run", "--run-id", "whole", "--keep-serving", "--live")
    output = made.watch(process)
    assert process.wait() == 0, output
    yield made, output
    made.call("stop")
    for left in made.processes():
        left.kill()
