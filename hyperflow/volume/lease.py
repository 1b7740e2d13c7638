"""Whose turn it is to change a service: one run at a time, from its decision until its smoke test.

    models/<model name>/.lease      {"run_id": …, "until": seconds since 1970}

A lease ends by `release`, with its time, or, on this machine, with its run. It is read and written
under a file lock that is held for a moment only, so it is the lease that lasts from step to step
and from pod to pod, and not the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperflow import progress, volume
from hyperflow.errors import Conflict
from hyperflow.volume import paths, runs

STEP_SECONDS = 1800
"""How long a lease outlasts the step that took it, for the next step's pod to start."""

_PAUSE = 0.5


def hold(model_name: str, run_id: str, seconds: float, patience: float = 0.0) -> None:
    """Take the service for this run, or hold it for longer.

    Args:
        model_name: The service.
        run_id: The run; the holder may take it again.
        seconds: For how long from now.
        patience: Seconds to wait for another run's turn to end.

    Raises:
        Conflict: Another run holds it.
    """
    deadline, said = time.monotonic() + patience, ""
    while True:
        with _locked(model_name) as path:
            other = _holder(path)
            if not other or other["run_id"] == run_id:
                volume.write_text(path, json.dumps({"run_id": run_id, "until": time.time() + seconds}))
                return
        if time.monotonic() >= deadline:
            raise _conflict(model_name, other)
        if other["run_id"] != said:
            said = other["run_id"]
            progress.to_stdout(progress.Progress("decide", 0, 1, f"waiting for run {said}, which deploys {model_name}"))
        time.sleep(_PAUSE)


def release(model_name: str, run_id: str) -> None:
    """End this run's turn, if it has it."""
    with _locked(model_name) as path:
        holder = _holder(path)
        if not holder or holder["run_id"] == run_id:
            path.unlink(missing_ok=True)


def _holder(path: Path) -> dict[str, Any]:
    """Return the lease that stands, or nothing where there is none, or it has ended."""
    try:
        lease: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    ended = lease["until"] <= time.time() or runs.process_ended(lease["run_id"])
    return {} if ended else lease


def _conflict(model_name: str, lease: dict[str, Any]) -> Conflict:
    until = time.strftime("%H:%M:%S UTC", time.gmtime(lease["until"]))
    return Conflict(
        f"run {lease['run_id']} is deploying {model_name}", f"it has the service until {until} at the latest",
        "wait for it to end and run this again, or raise turn_timeout; it will be compared with what is served then",
    )  # fmt: skip


@contextlib.contextmanager
def _locked(model_name: str) -> Iterator[Path]:
    lock = paths.lease_lock(model_name)
    with volume.writable(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield paths.lease(model_name)
