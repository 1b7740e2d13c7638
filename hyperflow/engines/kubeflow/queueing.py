"""Time that a search's trials wait in a queue, which counts against no time limit."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from hyperflow import volume
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.errors import Unavailable

_ENDED = ("Succeeded", "Failed")


class QueueTime:
    """How long a search with a queue had open trials and a pod of none: Kueue lets a trial in before it has one.

    It is kept in a file, so that a step which is run again counts on. A search that waited when its step was killed is
    taken to have waited until the next one began.

    Args:
        queued: Whether the search has a queue; one without waits for nobody.
        file: Where it is kept.
        clock: Gives seconds, the same on every machine.
    """

    def __init__(self, queued: bool, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._queued, self._file, self._clock = queued, file, clock
        self._at_work: set[str] = set()
        self._open = 0
        self._waited, self._since = _read(file, clock()) if queued else 0.0, clock()

    def see_pod(self, pod: Manifest, deleted: bool) -> None:
        """Take in a trial's pod as it is now."""
        ended = deleted or pod.get("status", {}).get("phase") in _ENDED
        was_waiting, uid = self.is_waiting, pod["metadata"]["uid"]
        (self._at_work.discard if ended else self._at_work.add)(uid)
        self._turn(was_waiting)

    def see_open(self, trials: int) -> None:
        """Take in how many trials have not ended."""
        was_waiting, self._open = self.is_waiting, trials
        self._turn(was_waiting)

    @property
    def is_waiting(self) -> bool:
        """Whether all open trials wait to be let in."""
        return self._queued and self._open > 0 and not self._at_work

    @property
    def seconds(self) -> float:
        """How long that was in all."""
        return self._waited + (self._clock() - self._since if self.is_waiting else 0.0)

    def _turn(self, was_waiting: bool) -> None:
        if was_waiting and not self.is_waiting:
            self._waited += self._clock() - self._since
        elif self.is_waiting and not was_waiting:
            self._since = self._clock()
        if self.is_waiting is not was_waiting:
            self._keep()

    def _keep(self) -> None:
        told = {"waited": self._waited, "since": self._since if self.is_waiting else None}
        with contextlib.suppress(Unavailable):  # a full volume ends the search elsewhere, and with better words
            volume.write_text(self._file, json.dumps(told))


def _read(file: Path, now: float) -> float:
    """Return how long was waited before; nothing where that was not kept, or is damaged."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return float(told["waited"]) + (0.0 if told["since"] is None else max(0.0, now - told["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
