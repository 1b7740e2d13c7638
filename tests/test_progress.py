"""Progress lines, written and read back."""

from __future__ import annotations

from hyperflow.progress import Progress


def test_progress_reads_back() -> None:
    progress = Progress("tune", 2, 6, "best x=[1/2]")
    assert Progress.parse(str(progress)) == progress
    assert Progress.parse("[not a progress line") is None
