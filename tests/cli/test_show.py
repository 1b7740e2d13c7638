"""What a run looks like in terminals of several widths: stage, counter and time are whole, the text has the rest."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console

from hyperflow.cli import show
from hyperflow.progress import Progress

TEXT = "best validation-accuracy=0.9217 with dropout_rate=0.2547 learning_rate=0.005825"


class Terminal(io.TextIOWrapper):
    """A terminal that remembers what was written to it."""

    def isatty(self) -> bool:
        return True


def lines(width: int, encoding: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    raw = io.BytesIO()
    terminal = Terminal(raw, encoding=encoding, write_through=True, errors="replace")  # as main sets it
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(show, "console", Console(file=terminal, width=width))
    with show.display() as listener:
        listener.stage("load_data")
        listener.progress(Progress("load_data", 1, 1, "small: 1000 training and 200 test images"))
        listener.stage("tune")
        listener.progress(Progress("tune", 12, 100, TEXT))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", raw.getvalue().decode(encoding))
    return [line.rstrip() for line in re.split(r"[\r\n]+", shown) if line.strip()]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_line_fits_and_what_matters_is_whole(width: int, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines(width, encoding, monkeypatch)
    assert max(len(line) for line in shown) <= width
    tune = next(line for line in reversed(shown) if " tune " in line)
    assert re.search(r"\b(12|100)/100\s+\d:\d\d:\d\d", tune), tune
    assert any(re.search(r"load_data\s", line) for line in shown)
    if width >= 80:
        assert "best valid" in tune


def test_dumb_terminal_gets_a_line_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(show, "console", Console(file=out, force_terminal=True))
    with show.display() as listener:
        listener.stage("tune")
        listener.progress(Progress("tune", 1, 2, TEXT))
    assert out.getvalue().splitlines() == ["tune …", f"[tune 1/2] {TEXT}"]
