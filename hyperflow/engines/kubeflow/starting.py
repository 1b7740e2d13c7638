"""Whether a job comes to run at all: its controller acts on it, and its pods are made, placed and started.

What waiting may cure (a queue, other jobs' resources, a node on its way) is told and waited for. What it cannot cure
ends the job after a grace, instead of at its time limit a day later.
"""

from __future__ import annotations

import re
import time
from datetime import datetime

from kubernetes.utils import parse_quantity

from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.resources import EXPERIMENT, JOB, SERVICE, TFJOB, TRAINJOB, Resource
from hyperflow.errors import JobFailed

ACT_SECONDS = 300.0
"""Seconds for a controller to set the first condition of a new object; one that runs takes less than one."""
START_SECONDS = 600.0
"""Seconds for what keeps a pod from starting to pass: a registry that is down, a node that is being added."""

REFUSALS = ("FailedCreate", "FailedCreatePod")
"""Events by which the Job controller and the Training Operator tell of a pod that they may not create."""
_WAITS = (
    "CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff",
    "ImageInspectError", "InvalidImageName",
)  # fmt: skip
_FINAL = ("is forbidden", "is invalid", "denied the request")
"""What an API server says that has judged a pod, and not merely failed to ask its webhooks or to answer in time."""
_NODES = re.compile(r"0/(\d+) nodes are available")
_UNFIT = re.compile(r"(\d+) node\(s\) (?:didn't match Pod's node affinity/selector|had untolerated taint)")
_QUOTA = re.compile(r"exceeded quota: [^,]+, requested: (\S+), used: \S+, limited: (\S+)")

_CONTROLLERS = {
    EXPERIMENT: ("Katib's controller", "install Katib 0.16 or newer, or see why katib-controller does not run"),
    TFJOB: (
        "the Training Operator",
        "install the Training Operator, which Kubeflow 1.11 and newer leave out, or set training_backend=job",
    ),
    TRAINJOB: (
        "Kubeflow Trainer",
        "see why kubeflow-trainer-controller-manager and JobSet's controller do not run, or set training_backend=job",
    ),
    JOB: ("the Job controller", "see why the cluster's kube-controller-manager does not run"),
    SERVICE: ("KServe's controller", "see why kserve-controller-manager does not run"),
}


def has_begun(item: Manifest) -> bool:
    """Tell whether a controller has acted on an object of ours."""
    return any(item.get("status", {}).values())


def seconds_to_act(item: Manifest, seconds: float) -> float:
    """Return how much longer a controller has; a job that is suspended in a queue has a status too."""
    created = datetime.fromisoformat(item["metadata"]["creationTimestamp"])
    return created.timestamp() + seconds - time.time()


def untouched(resource: Resource, item: Manifest, seconds: float) -> JobFailed:
    """Word that nobody acts on an object: its kind is there, and its controller is not."""
    controller, remedy = _CONTROLLERS[resource]
    name = item["metadata"]["name"]
    why = f"{controller} has set no status in {seconds:.0f} s: it is not installed, or does not run"
    return JobFailed(f"nothing acts on {resource.kind} {name}", why, f"{remedy} (`hyperflow preflight`)")


class Starting:
    """What keeps the pods of a job from running, and for how long it has.

    Args:
        grace: Seconds for which that is borne.
    """

    def __init__(self, grace: float = START_SECONDS) -> None:
        self._grace = grace
        self._pods: dict[str, str] = {}
        self._made: dict[str, str] = {}
        self._refused: dict[str, tuple[str, str]] = {}
        self._since = 0.0

    def see_pod(self, pod: Manifest, deleted: bool = False) -> None:
        """Take a pod in as it is now."""
        metadata = pod["metadata"]
        self._pods[metadata["uid"]] = "" if deleted else hopeless(pod)
        for owner in metadata.get("ownerReferences", []):
            self._made[owner["name"]] = max(self._made.get(owner["name"], ""), metadata.get("creationTimestamp", ""))
        self._note()

    def see_event(self, event: Manifest) -> str:
        """Take an event in, and word it where it tells that a pod may not be made."""
        if event.get("reason") not in REFUSALS:
            return ""
        about, text = event["involvedObject"]["name"], str(event.get("message", ""))
        if _is_final(text):
            when = event.get("lastTimestamp") or event.get("eventTime") or ""
            self._refused[about] = max(self._refused.get(about, ("", "")), (when, text))
            self._note()
        return f"a pod of {about} cannot be made: {text}"

    @property
    def problem(self) -> str:
        """What keeps a pod from starting that no waiting cures, or nothing."""
        refused = (
            text for about, (when, text) in self._refused.items() if when > self._made.get(about, "") or not when
        )
        return next((text for text in [*refused, *self._pods.values()] if text), "")

    @property
    def seconds_left(self) -> float:
        """How much longer it is borne."""
        return self._since + self._grace - time.monotonic() if self.problem else float("inf")

    def _note(self) -> None:
        if not self.problem:
            self._since = 0.0
        elif not self._since:
            self._since = time.monotonic()


def hopeless(pod: Manifest) -> str:
    """Word why a pod does not start, where no waiting cures it; nothing where it may, or where it runs."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if status.get("phase") != "Pending":
        return ""
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in _WAITS:
            return f"pod {name}: {waiting['reason']} {waiting.get('message', '')}".strip()
    for entry in status.get("conditions", []):
        if entry["type"] == "PodScheduled" and entry["status"] == "False" and _fits_no_node(entry.get("message", "")):
            return f"pod {name} fits no node: {entry['message']}"
    return ""


def _fits_no_node(message: str) -> bool:
    """Tell whether every node is of the wrong sort, and not merely full: those may come free."""
    nodes = _NODES.search(message)
    unfit = sum(int(count) for count in _UNFIT.findall(message))
    is_missing = "persistentvolumeclaim" in message and "not found" in message
    return is_missing or (nodes is not None and 0 < int(nodes[1]) <= unfit)


def _is_final(message: str) -> bool:
    """Tell whether a pod will never be made: a quota that others use up now comes free, a smaller one does not."""
    quota = _QUOTA.search(message)
    if quota is None:
        return any(sign in message for sign in _FINAL)
    requested, limited = (dict(part.split("=", 1) for part in text.split(",")) for text in quota.groups())
    return any(parse_quantity(amount) > parse_quantity(limited.get(name, amount)) for name, amount in requested.items())
