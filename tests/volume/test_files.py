"""Folders and files appear whole or not at all, and a disk's trouble is told."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.errors import Conflict, Unavailable


class TestStaged:
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

    @pytest.mark.parametrize(("age", "swept"), [(3600, False), (25 * 3600, True)])
    def test_another_machines_writer_has_a_day(self, tmp_path: Path, age: float, swept: bool) -> None:
        left = tmp_path / ".b.elsewhere-1.0a1b2c3d.partial"
        left.mkdir()
        os.utime(left, (time.time() - age, time.time() - age))
        with volume.staged(tmp_path / "b"):
            assert left.exists() is not swept

    def test_others_targets_and_living_writers_are_left_alone(self, tmp_path: Path) -> None:
        others = tmp_path / f".bb.{socket.gethostname()}-1.0a1b2c3d.partial"
        others.mkdir()
        with volume.staged(tmp_path / "b") as first, volume.staged(tmp_path / "b"):
            assert first.exists()
        assert others.exists()

    def test_folder_that_others_may_not_write_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(Unavailable, match="cannot be written"), volume.staged(tmp_path / "file" / "b"):
            pass


class TestWriteText:
    def test_file_takes_the_place_of_the_older_one(self, tmp_path: Path) -> None:
        for text in ("old", "new – whole"):
            volume.write_text(tmp_path / "a" / "b.json", text)
        assert (tmp_path / "a" / "b.json").read_text(encoding="utf-8") == "new – whole"
        assert os.listdir(tmp_path / "a") == ["b.json"]

    def test_what_cannot_be_written_whole_leaves_the_older_one(self, tmp_path: Path) -> None:
        volume.write_text(tmp_path / "b", "old")
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the disk says no, instead of killing us
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                volume.write_text(tmp_path / "b", "x" * 2000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, handler)
        assert (tmp_path / "b").read_text() == "old"
        assert os.listdir(tmp_path) == ["b"]

    def test_folder_in_the_way_stays(self, tmp_path: Path) -> None:
        (tmp_path / "b").mkdir()
        with pytest.raises(IsADirectoryError):
            volume.write_text(tmp_path / "b", "x")
        assert os.listdir(tmp_path) == ["b"]


class TestWritable:
    @pytest.mark.parametrize(("number", "word"), [(errno.ENOSPC, "full"), (errno.EACCES, "cannot be written")])
    def test_disk_errors_are_told(self, number: int, word: str, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match=word), volume.writable(tmp_path):
            raise OSError(number, os.strerror(number))

    def test_other_errors_are_not_the_disks(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), volume.writable(tmp_path):
            (tmp_path / "missing").read_text()
