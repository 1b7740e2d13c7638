"""What kfp.local prints: kept in the run's log, and sorted for whoever watches the run."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hyperflow import volume
from hyperflow.progress import Progress
from hyperflow.volume.approvals import ASKS

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_STARTED = re.compile(r"Executing task '([a-z-]+?)(?:-\d+)?'")  # a step that stands twice in a pipeline has a number
_FRAME = re.compile(r"\d\d:\d\d:\d\d\.\d+ - |\W*$")  # kfp.local's own lines
_LAST = 15
_FAILED = re.compile(r"\s*error: ")


@dataclass(frozen=True)
class Listener:
    """Who is told how a run goes.

    Args:
        stage: Called with each stage's name when it starts.
        progress: Called with each step forward.
        say: Called with each line that a person is to read now: how to answer what a step asks.
    """

    stage: Callable[[str], None]
    progress: Callable[[Progress], None]
    say: Callable[[str], None] = lambda _: None


class Output(io.TextIOBase):
    """What kfp.local prints: kept in the log, and sorted for the listener."""

    def __init__(self, log: Path, listener: Listener) -> None:
        with volume.writable(log.parent):
            self._log = log.open("a", encoding="utf-8")
        self._listener = listener
        self._rest = ""
        self._failure: list[str] = []
        self._last: deque[str] = deque(maxlen=_LAST)
        self.stage = ""

    @property
    def failure(self) -> str:
        """The error that a step printed last."""
        return "\n".join(self._failure)

    @property
    def last(self) -> list[str]:
        """The last lines that a step printed; what kfp.local says of it is none."""
        return list(self._last)

    def write(self, text: str) -> int:
        """Take some text; act on each line once it is whole."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(_ANSI.sub("", line).removeprefix("    "))
        return len(text)

    def close(self) -> None:
        """Close the log."""
        self._log.close()
        super().close()

    def _take(self, line: str) -> None:
        with volume.writable(Path(self._log.name).parent):
            self._log.write(line + "\n")
            self._log.flush()
        started = _STARTED.search(line)
        progress = Progress.parse(line)
        if started:
            self._start(started[1].replace("-", "_"))
        elif not _FRAME.match(line):
            self._last.append(line)
        if progress:
            self._listener.progress(progress)
        elif line.lstrip().startswith(ASKS):
            self._listener.say(line.lstrip().removeprefix(ASKS))
        elif _FAILED.match(line):
            self._failure = [line.strip().removeprefix("error: ")]
        elif self._failure and line.startswith("  "):
            self._failure.append(line)

    def _start(self, stage: str) -> None:
        self.stage = stage
        self._last.clear()
        self._listener.stage(stage)
