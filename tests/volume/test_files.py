"""Folders and files appear whole or not at all, and a disk's trouble is told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.errors import Conflict, Unavailable


class TestVolume:
    def test_folder_appears_whole(self, tmp_path: Path) -> None:
        target = tmp_path / "a" / "b"
        with volume.staged(target) as staging:
            (staging / "file").write_text("x")
            assert not target.exists()
        assert (target / "file").read_text() == "x"
        assert os.listdir(target.parent) == ["b"]

    def test_failure_leaves_nothing(self, tmp_path: Path) -> None:
        def fill() -> None:
            with volume.staged(tmp_path / "b") as staging:
                (staging / "file").write_text("x")
                raise KeyError

        with pytest.raises(KeyError):
            fill()
        assert os.listdir(tmp_path) == []

    def test_first_writer_wins(self, tmp_path: Path) -> None:
        with volume.staged(tmp_path / "b") as late:
            (late / "who").write_text("late")
            with volume.staged(tmp_path / "b") as early:
                (early / "who").write_text("early")
        assert (tmp_path / "b" / "who").read_text() == "early"
        assert os.listdir(tmp_path) == ["b"]

    def test_what_a_killed_writer_left_is_swept(self, tmp_path: Path) -> None:
        write = "import sys, os, pathlib; from hyperflow import volume\n"
        write += (
            "with volume.staged(pathlib.Path(sys.argv[1])) as s: (s / 'f').write_text('x'); os.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", write, str(tmp_path / "b")], check=False, timeout=30)
        (left,) = os.listdir(tmp_path)
        assert left.endswith(".partial")
        with volume.staged(tmp_path / "b"), volume.staged(tmp_path / "c"):
            assert left not in os.listdir(tmp_path)
        assert sorted(os.listdir(tmp_path)) == ["b", "c"]

    def test_file_in_the_way_stays(self, tmp_path: Path) -> None:
        (tmp_path / "b").write_text("mine")
        with pytest.raises(Conflict), volume.staged(tmp_path / "b"):
            pass
        assert (tmp_path / "b").read_text() == "mine"

    @pytest.mark.parametrize(("number", "word"), [(errno.ENOSPC, "full"), (errno.EACCES, "cannot be written")])
    def test_disk_errors_are_told(self, number: int, word: str, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match=word), volume.writable(tmp_path):
            raise OSError(number, os.strerror(number))
