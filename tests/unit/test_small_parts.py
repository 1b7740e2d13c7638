"""Metric lines, progress lines, job names, the volume and the report."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyperflow import metrics, report, volume
from hyperflow.errors import Conflict, Unavailable
from hyperflow.progress import Progress
from hyperflow.specs import Trainer, Trial, fingerprint, format_value, job_name
from hyperflow.volume import records


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("epoch=1 loss=0.25", {"epoch": 1, "loss": 0.25}),
        ("loss = -1.5e-3, accuracy=+.5", {"loss": -0.0015, "accuracy": 0.5}),
        ("validation-accuracy=0.9|x", {"validation-accuracy": 0.9}),
        ("loss=nan", {}),
        ("loss: 0.3", {}),
        ("val/loss=0.3", {"loss": 0.3}),
        ("", {}),
    ],
)
def test_metric_lines_read_as_katib_reads_them(line: str, seen: dict[str, float]) -> None:
    assert metrics.parse_line(line) == seen


def test_progress_reads_back() -> None:
    progress = Progress("tune", 2, 6, "best x=[1/2]")
    assert Progress.parse(str(progress)) == progress
    assert Progress.parse("[not a progress line") is None


@pytest.mark.parametrize(("value", "text"), [(64.0, "64"), (0.1, "0.1"), (1e-05, "1e-05"), ("a b", "a b"), (3, "3")])
def test_values_are_written_as_they_read_back(value: float | int | str, text: str) -> None:
    assert format_value(value) == text


def test_argv_is_the_contract() -> None:
    trainer = Trainer(("python", "train.py"), {"model": "cnn", "epochs": "9"})
    assert trainer.argv("/d", {"learning_rate": 0.01}, 3, "/m/1") == [
        "python", "train.py", "--data-path=/d", "--epochs=9", "--model=cnn", "--learning_rate=0.01",
        "--model-path=/m/1",
    ]  # fmt: skip


def test_job_names_fit_katib_and_differ() -> None:
    long = "a" * 30 + "-1", "a" * 30 + "-2"
    names = {job_name("tune", run_id) for run_id in ("3f1c1f9e-0000-4000-8000-000000000000", "short", *long)}
    assert len(names) == 4
    assert all(len(name) <= 40 for name in names)


def test_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    one, two = Trainer(("x",), {"a": "1", "b": "2"}), Trainer(("x",), {"b": "2", "a": "1"})
    assert fingerprint(one) == fingerprint(two) != fingerprint(Trainer(("x",), {"a": "1", "b": "3"}))


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


def test_report_escapes_what_a_trainer_may_print() -> None:
    hostile = "<script>alert(1)</script>"
    trial = Trial(hostile, "succeeded", {"x": hostile}, 0.5)
    record = records.Tune(metric="m", direction="maximize", best=trial, trials=(trial,), location=hostile)
    html = report.page(hostile, [report.trials(record)])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
