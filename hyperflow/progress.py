"""How far the work is: one line a change, the same in a step's log on a cluster and in a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_LINE = re.compile(r"\[(?P<stage>[a-z_]+) (?P<done>\d+)/(?P<total>\d+)\](?: (?P<text>.*))?")


@dataclass(frozen=True)
class Progress:
    """One step forward.

    Args:
        stage: What is going on, for example `tune`.
        done: Units finished.
        total: Units there are; 0 where that is not known.
        text: What a reader wants to know now, on one line.
    """

    stage: str
    done: int
    total: int
    text: str

    def __str__(self) -> str:
        return f"[{self.stage} {self.done}/{self.total}] {self.text}"

    @classmethod
    def parse(cls, line: str) -> Progress | None:
        """Read a line that `str` made, or return None for any other."""
        match = _LINE.fullmatch(line.strip())
        if match is None:
            return None
        return cls(match["stage"], int(match["done"]), int(match["total"]), match["text"] or "")


Tell = Callable[[Progress], None]


def to_stdout(progress: Progress) -> None:
    """Report as a line on standard output, at once."""
    print(progress, flush=True)
