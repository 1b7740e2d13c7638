"""Whether a search makes headway: the pods of its trials and of its algorithm start, and Katib gets on."""

from __future__ import annotations

import re
import time

from hyperflow.engines.kubeflow import explain
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.starting import Starting

_STANDSTILL = 3
"""How many times as long Katib's own errors are borne: its controllers pause for up to a quarter of an hour."""

_TRIAL_LABELS = ("batch.kubernetes.io/job-name", "training.kubeflow.org/job-name")

_BEGUN = ("Running", "Succeeded", "Failed")


class Headway:
    """What keeps one search from going on.

    A pod that cannot start ends the search after the grace, but not while other trials run: each that does begins
    the grace anew. An error of Katib ends it when it came again and again for longer while no trial was open.

    Args:
        name: The Experiment's name, and its Suggestion's.
        algorithm: The algorithm's name.
        grace: Seconds for which a pod that cannot start is borne.
    """

    def __init__(self, name: str, algorithm: str, grace: float) -> None:
        self._name, self._grace = name, grace
        self._parts = re.compile(rf"{re.escape(name)}-([a-z0-9]{{8}}|{re.escape(algorithm)}-[a-z0-9]+)")
        self._starting = Starting(grace)
        self._running: set[str] = set()
        self._moved = time.monotonic()
        self._error, self._erring_since = "", 0.0

    def see_pod(self, pod: Manifest, deleted: bool) -> list[str]:
        """Take a pod in as it is now, and word what it waits for."""
        uid, phase = pod["metadata"]["uid"], pod.get("status", {}).get("phase")
        self._starting.see_pod(pod, deleted)
        if is_trial(pod) and phase in _BEGUN:
            self._moved, self._error = time.monotonic(), ""
            (self._running.add if phase == "Running" and not deleted else self._running.discard)(uid)
        return [] if deleted or phase in _BEGUN else explain.pod_states([pod])

    def see_event(self, event: Manifest, open_trials: int) -> str:
        """Take an event in, and word it where it tells that something does not go on."""
        about = event["involvedObject"]["name"]
        if self._parts.fullmatch(about):
            return self._starting.see_event(event)
        if about != self._name or event.get("type") != "Warning":
            return ""
        if open_trials or not self._error:
            self._erring_since = time.monotonic()
        self._error = f"{event['involvedObject'].get('kind', 'Katib')}: {event['reason']} {event.get('message', '')}"
        return f"Katib cannot go on yet, {self._error.strip()}"

    @property
    def problem(self) -> str:
        """What has kept the search from going on for longer than is borne, or nothing."""
        if self._starting.problem and self.seconds_left <= 0:
            return f"it cannot start: {self._starting.problem}"
        if self._error and time.monotonic() - self._erring_since > _STANDSTILL * self._grace:
            return f"it stands still: {self._error}"
        return ""

    @property
    def seconds_left(self) -> float:
        """How much longer a pod that cannot start is borne."""
        if self._running or not self._starting.problem:
            return float("inf")
        return max(self._starting.seconds_left, self._moved + self._grace - time.monotonic())


def is_trial(pod: Manifest) -> bool:
    """Tell a trial's pod from the algorithm's."""
    return any(label in pod["metadata"].get("labels", {}) for label in _TRIAL_LABELS)
