"""Say why something failed: conditions, events, the state of its pods and the last lines of the log that matters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.resources import EVENT, POD, SUGGESTION

COLLECTOR = "metrics-logger-and-collector"
"""Katib's sidecar, which has the trainer's output: Katib sends that to a file, and the sidecar repeats it."""

_LOG_LINES = 15
_EVENTS = 4
_SIGNALS = range(129, 129 + 64)
_RESTARTS = 2
_STUCK = ("CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "InvalidImageName")

_HINTS = (
    ("OOMKilled", "give it more memory"),
    ("exit code 137", "give it more memory, or see what killed it"),
    ("ImagePullBackOff", "see whether the image exists and image_pull_secret may pull it"),
    ("ErrImagePull", "see whether the image exists and image_pull_secret may pull it"),
    ("Insufficient", "ask for less cpu, memory or gpus, or add nodes"),
    ("FailedScheduling", "see the events: no node takes the pod"),
    ("FailedMount", "see whether the claim is bound and can be mounted on several nodes (ReadWriteMany)"),
    ("FailedAttachVolume", "see whether the claim is bound and can be mounted on several nodes (ReadWriteMany)"),
    ("exceeded quota", "ask for less, or have the namespace's quota raised"),
    ("unable to find main pid", "have the trainer run for two seconds at least: Katib's collector missed its process"),
    ("DeadlineExceeded", "raise the time limit"),
    ("No space left", "free some space on the volume"),
    ("Permission denied", "make the volume writable for user 1000 (manifests/ has a job for it)"),
)


def hint(why: str, otherwise: str) -> str:
    """Return what to do about a cause, or something that helps with any."""
    return next((remedy for sign, remedy in _HINTS if sign in why), otherwise)


def conditions(item: Manifest, *, bad: Sequence[str] = ("Failed",)) -> list[str]:
    """Word the conditions that hold and tell of a failure."""
    return [
        f"{entry['type']}: {entry.get('reason', '')} {entry.get('message', '')}".strip()
        for entry in item.get("status", {}).get("conditions") or []
        if entry["type"] in bad and entry["status"] == "True"
    ]


def not_ready(item: Manifest) -> list[str]:
    """Word the conditions of a service that do not hold."""
    return [
        f"{entry['type']} is {entry['status']}: {entry.get('reason', '')} {entry.get('message', '')}".strip()
        for entry in item.get("status", {}).get("conditions") or []
        if entry["status"] != "True"
    ]


def suggestion(cluster: Cluster, experiment: str, *, waiting: bool = False) -> list[str]:
    """Word why the search algorithm failed, or what it waits for; Katib tells it only here."""
    item = cluster.get(SUGGESTION, experiment)
    if item is None:
        return ["there is no suggestion: Katib has not asked its algorithm yet"] if waiting else []
    return [f"suggestion {line}" for line in [*conditions(item), *(not_ready(item) if waiting else [])]]


def events(cluster: Cluster, names: Iterable[str]) -> list[str]:
    """Word the last warnings about some objects."""
    lines = []
    for name in names:
        listing = cluster.list(EVENT, fieldSelector=f"involvedObject.name={name}")
        warnings = [event for event in listing["items"] if event.get("type") == "Warning"]
        warnings.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        lines += [f"event on {name}: {event['reason']}: {event.get('message', '')}" for event in warnings[-_EVENTS:]]
    return lines


def pods_of(cluster: Cluster, selector: str) -> list[Manifest]:
    """Return the pods that a label selector chooses, failed ones first."""
    pods: list[Manifest] = cluster.list(POD, labelSelector=selector)["items"]
    return sorted(pods, key=lambda pod: pod.get("status", {}).get("phase") != "Failed")


def pod_states(pods: Iterable[Manifest]) -> list[str]:
    """Word what is wrong with each pod: how a container ended, or what it waits for."""
    lines = []
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            text = container_state(container)
            if text:
                lines.append(f"pod {name}: container {container['name']} {text}")
        for entry in status.get("conditions", []):
            if entry["type"] == "PodScheduled" and entry["status"] == "False":
                lines.append(f"pod {name} has no node: {entry.get('reason', '')} {entry.get('message', '')}".strip())
        if status.get("reason"):
            lines.append(f"pod {name}: {status['reason']} {status.get('message', '')}".strip())
    return lines


def container_state(container: Manifest) -> str:
    """Word how a container ended or why it does not start; nothing where all is well."""
    state = container.get("state", {})
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated")
    if ended and ended["exitCode"]:
        code = ended["exitCode"]
        killed = f", signal {code - 128}" if code in _SIGNALS else ""
        reason = f" ({ended['reason']}{killed})" if ended.get("reason") else ""
        return f"ended with exit code {code}{reason} {ended.get('message', '')}".strip()
    waiting = state.get("waiting", {})
    if waiting.get("reason") in (None, "ContainerCreating", "PodInitializing"):
        return ""
    return f"waits: {waiting['reason']} {waiting.get('message', '')}".strip()


def is_disrupted(pod: Manifest) -> bool:
    """Tell whether a pod was taken away by what happens to nodes: drained, lost or preempted."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(entry["type"] == "DisruptionTarget" and entry["status"] == "True" for entry in conditions)


def is_stuck(pod: Manifest) -> bool:
    """Tell whether a pod that is not ready crashes again and again or cannot have its image."""
    status = pod.get("status", {})
    if any(entry["type"] == "Ready" and entry["status"] == "True" for entry in status.get("conditions", [])):
        return False
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return any(_is_stuck(container) for container in containers)


def _is_stuck(container: Manifest) -> bool:
    state = container.get("state", {})
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated") or {}
    crashes = container.get("restartCount", 0) >= _RESTARTS and ended.get("exitCode", 0) != 0
    return crashes or state.get("waiting", {}).get("reason") in _STUCK


def log_tail(cluster: Cluster, pods: Iterable[Manifest]) -> list[str]:
    """Return the last lines of the first pod that has a log, whose trainer's words may be in Katib's sidecar."""
    for pod in pods:
        names = [container["name"] for container in pod["spec"]["containers"]]
        for container in sorted(names, key=lambda name: name != COLLECTOR):
            try:
                text = cluster.log(pod["metadata"]["name"], container, tail=_LOG_LINES).strip()
            except ApiError as error:
                return [f"its log cannot be read: {error.message}"]
            if text:
                return [f"last lines of {pod['metadata']['name']}:", *(f"  {line}" for line in text.splitlines())]
    return []
