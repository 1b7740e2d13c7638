"""How often a training was hit, as opposed to how many of its pods failed.

One lost worker fails its peers too: they end when an exchange with it fails. And what the operator starts in its
place may end because a peer of the first attempt was still there to end. All of that is one incident.
"""

from __future__ import annotations

import time

_RELATED_SECONDS = 300.0
"""How long after a failure another one may still follow from it: TensorFlow notices a lost peer within minutes."""


class Incidents:
    """Count what happened to a job's pods, in the order in which it was seen."""

    def __init__(self) -> None:
        self.count = 0
        self._moment = 0
        self._seen: dict[str, int] = {}
        self._began = self._latest_of_first = 0
        self._last_failure = 0.0

    def see(self, uid: str) -> None:
        """Take a pod in; only its first sight matters."""
        self._moment += 1
        self._seen.setdefault(uid, self._moment)

    def failed(self, uid: str) -> None:
        """Take the failure of a pod in, once a pod."""
        self.see(uid)
        now = time.monotonic()
        is_soon = self.count > 0 and now - self._last_failure <= _RELATED_SECONDS
        self._last_failure = now
        if is_soon and self._seen[uid] < self._began:
            self._latest_of_first = self._moment  # a peer that was there when it began
        elif not (is_soon and self._seen[uid] < self._latest_of_first):
            self.count += 1
            self._began = self._latest_of_first = self._moment
