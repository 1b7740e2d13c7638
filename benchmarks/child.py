"""A measured process: what it printed, its time by the clock, and what it and all it waited for used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Failed(RuntimeError):
    """A measured process ended with an error; nothing of it may be used."""


@dataclass(frozen=True)
class Done:
    """A process that ended well; core-seconds are of it and of all below, `peak_mib` is of the largest of them."""

    seconds: float
    core_seconds: float
    peak_mib: float
    output: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects it printed, one a line."""
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]


def run(command: Sequence[str], **environment: str) -> Done:
    """Run to the end.

    Raises:
        Failed: The exit code is not 0.
    """
    env = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **environment}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=errors, stdin=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{errors.read()[-3000:]}")
        return Done(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, output.read())


def arm(name: str, settings: dict[str, Any]) -> Done:
    """Run one of `benchmarks.arms`."""
    return run([sys.executable, "-m", f"benchmarks.arms.{name}", json.dumps(settings)])
