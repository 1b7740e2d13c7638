"""Short-lived folders, for sockets whose paths must be short; each is named after its maker, so that none stays.

Whoever makes one removes those of makers that were killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import psutil

READY = "ready.json"
"""The file in which a server that may outlive the maker of its folder says its pid."""

_PREFIX = "hyperflow-of-"


def make() -> Path:
    """Make a folder of this process, and remove what processes that are no more have left."""
    _sweep(Path(tempfile.gettempdir()))
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def _sweep(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*-*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid() and not _in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _in_use(folder: Path) -> bool:
    maker = folder.name.removeprefix(_PREFIX).partition("-")[0]
    try:
        served_by = json.loads((folder / READY).read_text(encoding="utf-8"))["pid"]
    except (OSError, ValueError, KeyError):
        served_by = 0
    return any(pid and psutil.pid_exists(pid) for pid in (int(maker) if maker.isdigit() else 0, served_by))
