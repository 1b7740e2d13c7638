"""Whether a run is still at work: by the lock of the process that runs it here, else by its last sign of life."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

from hyperflow.volume import approvals, paths, records


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
    if is_complete(run_id):
        return False
    if (question := approvals.asked(run_id)) and question.is_open:
        return True
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


def is_complete(run_id: str) -> bool:
    """Tell whether the records show a last step: tested, refused, or nothing to do."""
    ended = records.read_all(run_id)
    refused = ended.decide is not None and not ended.decide.deploy
    idle = ended.plan is not None and ended.plan.action == "skip"
    return ended.predict is not None or refused or idle


def _last_sign(folder: Path) -> float:
    """Return the time of the newest file of a run, down to the folders of its steps."""
    newest = 0.0
    for path in (folder, *folder.glob("*"), *folder.glob("*/*")):
        try:
            newest = max(newest, path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return newest
