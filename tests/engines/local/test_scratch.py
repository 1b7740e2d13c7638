"""Folders in the temporary folder: none stays for good, and none is taken from one who uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hyperflow.engines.local import scratch


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left_by_one_that_ended(place: Path) -> Path:
    code = "from hyperflow.engines.local import scratch; print(scratch.make())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(place)},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


def test_next_one_removes_what_a_killed_maker_left(place: Path) -> None:
    left = left_by_one_that_ended(place)
    assert left.is_dir()
    made = scratch.make()
    assert [made] == list(place.iterdir())


def test_folder_of_a_running_maker_or_server_stays(place: Path) -> None:
    mine, served = scratch.make(), left_by_one_that_ended(place)
    (served / scratch.READY).write_text(json.dumps({"pid": os.getpid()}))
    assert {mine, served, scratch.make()} == set(place.iterdir())
