"""Progress lines, written and read back, among all that a step prints."""

from __future__ import annotations

import pytest

from hyperflow.progress import Progress, to_stdout


def test_progress_reads_back() -> None:
    progress = Progress("tune", 2, 6, "best x=[1/2]")
    assert Progress.parse(str(progress)) == progress
    assert Progress.parse(f"  {progress}\r\n") == progress


def test_progress_without_a_text_reads_back_too() -> None:
    progress = Progress("load_data", 3, 0, "")
    assert Progress.parse(str(progress)) == progress


@pytest.mark.parametrize(
    "line",
    ["", "[not a progress line", "[tune 1/x] a", "[tune -1/2] a", "[Tune 1/2] a", "x [tune 1/2] a", "[tune 1/2]a"],
)
def test_other_lines_are_none(line: str) -> None:
    assert Progress.parse(line) is None


def test_report_is_a_line_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    to_stdout(Progress("train", 1, 3, "epoch 1"))
    assert capfd.readouterr().out == "[train 1/3] epoch 1\n"
