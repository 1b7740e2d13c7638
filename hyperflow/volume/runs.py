"""What a run left on the volume, and whether it is still at work.

runs/<run id>/lock              held by the process that runs it, on this machine
runs/<run id>/steps/*.json      what came of each step that has ended
"""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path
from typing import Any

from hyperflow.volume import paths


def record(run_id: str, stage: str) -> dict[str, Any]:
    """Return what a step of a run wrote down, or nothing."""
    path = paths.step_records(run_id) / f"{stage}.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def process_ended(run_id: str) -> bool:
    """Tell whether a run was one of this machine's, and its process is gone; on a cluster this is never known."""
    return _held(run_id) is False


def may_run(run_id: str, longest: float) -> bool:
    """Tell whether a run may still be at work.

    Args:
        run_id: The run.
        longest: Seconds after its last sign of life at which a run without a process here counts as dead.
    """
    held = _held(run_id)
    if held is not None:
        return held
    if _is_complete(run_id):
        return False
    return time.time() - _last_sign(paths.run_path(run_id)) < longest


def _held(run_id: str) -> bool | None:
    """Tell whether a process here holds the run; None where the run has no lock, as on a cluster."""
    try:
        with paths.run_lock(run_id).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return True
    return False


def _is_complete(run_id: str) -> bool:
    """Tell whether the records show a last step: tested, refused, or nothing to do."""
    return bool(
        record(run_id, "predict")
        or record(run_id, "decide").get("deploy") is False
        or record(run_id, "plan").get("action") == "skip"
    )


def _last_sign(folder: Path) -> float:
    """Return the time of the newest file of a run, down to the folders of its steps."""
    newest = 0.0
    for path in (folder, *folder.glob("*"), *folder.glob("*/*")):
        try:
            newest = max(newest, path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return newest
