"""Operators' work done by hand: wait for an object, then set the states that a test is about."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.kubeflow.emulator import Emulator
from tests.kubeflow.katib import EXPERIMENTS, TRIALS
from tests.kubeflow.kubelet import PODS
from tests.kubeflow.operators import add_condition, condition
from tests.kubeflow.store import Key, Object, Refusal
from tests.kubeflow.world import NAMESPACE

Result = TypeVar("Result")


@contextmanager
def started(work: Callable[[], Result]) -> Iterator[Future[Result]]:
    """Run a verb of the engine in a thread while the test moves the cluster."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


def wait_for(holds: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come to that"
        threading.Event().wait(0.01)


def appeared(emulator: Emulator, key: Key, name: str) -> Object:
    def look() -> Object | None:
        try:
            return emulator.store.get(key, NAMESPACE, name)
        except Refusal:
            return None

    found: Object = wait_for(look)
    return found


def watched(emulator: Emulator, plural: str, times: int = 1) -> None:
    """Wait until the engine watches a kind."""
    wait_for(lambda: sum(r.verb == "watch" and r.resource == plural for r in list(emulator.requests)) >= times)


def end(emulator: Emulator, key: Key, name: str, *kinds: str, message: str = "") -> None:
    """Add conditions that hold."""
    item = {"metadata": {"namespace": NAMESPACE, "name": name}}
    add_condition(emulator, key, item, *(condition(kind, f"{kind}ByTest", message) for kind in kinds))


def add_trial(emulator: Emulator, name: str, value: str, *kinds: str, x: str = "0.5") -> Object:
    """Add a trial of `tune-run-1` that has ended."""
    metadata = {"name": name, "labels": {"katib.kubeflow.org/experiment": "tune-run-1"}}
    spec = {"parameterAssignments": [{"name": "x", "value": x}]}
    trial = emulator.store.create(TRIALS, NAMESPACE, {"metadata": metadata, "spec": spec})
    observation = {"metrics": [{"name": "validation-accuracy", "min": value, "max": value, "latest": value}]}
    emulator.store.set_status(TRIALS, NAMESPACE, name, observation=observation)
    end(emulator, TRIALS, name, *kinds)
    return {"bestTrialName": name, **spec, "observation": observation, "uid": trial["metadata"]["uid"]}


def succeed(emulator: Emulator, value: str = "0.9") -> None:
    """End `tune-run-1` well, with one trial."""
    best = add_trial(emulator, "tune-run-1-a", value, "Succeeded")
    emulator.store.set_status(EXPERIMENTS, NAMESPACE, "tune-run-1", currentOptimalTrial=best, trialsSucceeded=1)
    end(emulator, EXPERIMENTS, "tune-run-1", "Succeeded")


def add_pod(emulator: Emulator, name: str, labels: dict[str, str], **status: Any) -> None:
    """Add a pod in a state."""
    pod = {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "tensorflow"}]}}
    emulator.store.create(PODS, NAMESPACE, pod)
    emulator.store.set_status(PODS, NAMESPACE, name, **status)


def terminated(code: int, reason: str = "Error") -> list[Object]:
    return [{"name": "tensorflow", "state": {"terminated": {"exitCode": code, "reason": reason}}}]


def warn(emulator: Emulator, about: str, reason: str, message: str) -> None:
    """Add a warning event."""
    event = {
        "metadata": {"name": f"{about}-{reason.lower()}"},
        "involvedObject": {"name": about},
        "type": "Warning",
        "reason": reason,
        "message": message,
    }
    emulator.store.create(("", "events"), NAMESPACE, event)
