"""Time that a search's trials wait in a queue, which counts against no time limit."""

from __future__ import annotations

import time
from collections.abc import Callable

from hyperflow.engines.kubeflow.manifests.common import Manifest

_ENDED = ("Succeeded", "Failed")


class QueueTime:
    """How long a search with a queue had open trials and a pod of none: Kueue lets a trial in before it has one.

    Args:
        queued: Whether the search has a queue; one without waits for nobody.
        clock: Gives seconds.
    """

    def __init__(self, queued: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._queued, self._clock = queued, clock
        self._at_work: set[str] = set()
        self._open = 0
        self._waited, self._since = 0.0, clock()

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
