"""The Training Operator of an emulated cluster, and what its controllers have in common."""

from __future__ import annotations

import copy
import json
import socket
from typing import Any

from tests.kubeflow.emulator import Emulator
from tests.kubeflow.kubelet import PODS
from tests.kubeflow.store import Event, Key, Object, Refusal, now

JOBS: Key = ("batch", "jobs")
TFJOBS: Key = ("kubeflow.org", "tfjobs")


def condition(kind: str, reason: str, message: str = "") -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}


def add_condition(emulator: Emulator, key: Key, item: Object, *conditions: Object, **status: Any) -> None:
    """Add conditions as operators do, in one update with the rest of the status: those of before stay."""
    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    try:
        live = emulator.store.get(key, namespace, name)
    except Refusal:
        return
    fresh = {entry["type"] for entry in conditions}
    kept = [entry for entry in live.get("status", {}).get("conditions", []) if entry["type"] not in fresh]
    emulator.store.set_status(key, namespace, name, conditions=[*kept, *conditions], **status)


def owned(item: Object, kind: str) -> Object:
    return {"kind": kind, "name": item["metadata"]["name"], "uid": item["metadata"]["uid"]}


def exit_code(pod: Object) -> int:
    return int(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"])


class TrainingOperator:
    """Pods, TF_CONFIG, restarts by exit code and conditions of TFJobs."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def handle(self, event: Event) -> None:
        if event.key == TFJOBS and event.type == "ADDED":
            self._start(event.object)
        label = event.object["metadata"].get("labels", {}).get("training.kubeflow.org/job-name")
        if event.key == PODS and event.type == "MODIFIED" and label:
            try:
                job = self._emulator.store.get(TFJOBS, event.object["metadata"]["namespace"], label)
            except Refusal:
                return
            self._see(job, event.object)

    def _start(self, job: Object) -> None:
        add_condition(self._emulator, TFJOBS, job, condition("Created", "TFJobCreated"))
        replicas = {kind: spec.get("replicas", 1) for kind, spec in job["spec"]["tfReplicaSpecs"].items()}
        addresses: dict[str, list[str]] = {}
        for kind, count in replicas.items():
            addresses[kind.lower()] = [f"127.0.0.1:{free_port()}" for _ in range(count)]
        for kind, count in replicas.items():
            for index in range(count):
                self._create_pod(job, kind, index, addresses if sum(replicas.values()) > 1 else {})
        add_condition(self._emulator, TFJOBS, job, condition("Running", "TFJobRunning"))

    def _create_pod(self, job: Object, kind: str, index: int, addresses: dict[str, list[str]]) -> None:
        spec = copy.deepcopy(job["spec"]["tfReplicaSpecs"][kind]["template"]["spec"])
        role = kind.lower()
        if addresses:
            task = {"cluster": addresses, "task": {"type": role, "index": index}, "environment": "cloud"}
            spec["containers"][0].setdefault("env", []).append({"name": "TF_CONFIG", "value": json.dumps(task)})
        name = job["metadata"]["name"]
        labels = {
            "training.kubeflow.org/job-name": name,
            "training.kubeflow.org/replica-type": role,
            "training.kubeflow.org/replica-index": str(index),
        }
        if role == "chief":
            labels["training.kubeflow.org/job-role"] = "master"
        metadata = {"name": f"{name}-{role}-{index}", "labels": labels, "ownerReferences": [owned(job, "TFJob")]}
        self._emulator.store.create(PODS, job["metadata"]["namespace"], {"metadata": metadata, "spec": spec})

    def _see(self, job: Object, pod: Object) -> None:
        types = {entry["type"] for entry in job["status"]["conditions"]}
        phase = pod.get("status", {}).get("phase")
        if types & {"Succeeded", "Failed"} or phase not in ("Succeeded", "Failed"):
            return
        labels, name = pod["metadata"]["labels"], pod["metadata"]["name"]
        role = labels["training.kubeflow.org/replica-type"]
        if phase == "Succeeded":
            if role == "chief":
                self._end(job, condition("Succeeded", "TFJobSucceeded", "TFJob has successfully completed."))
        elif self._policy(job, role) == "ExitCode" and exit_code(pod) >= 128:
            self._restart(job, pod)
        else:
            self._end(
                job, condition("Failed", "TFJobFailed", f"TFJob has failed because 1 {role} replica(s) failed: {name}")
            )

    def _policy(self, job: Object, role: str) -> str:
        specs = {kind.lower(): spec for kind, spec in job["spec"]["tfReplicaSpecs"].items()}
        return str(specs[role].get("restartPolicy", "Never"))

    def _restart(self, job: Object, pod: Object) -> None:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        self._emulator.store.delete(PODS, namespace, name)
        add_condition(self._emulator, TFJOBS, job, condition("Restarting", "TFJobRestarting"))
        fresh = {
            "name": name,
            "labels": pod["metadata"]["labels"],
            "ownerReferences": pod["metadata"]["ownerReferences"],
        }
        self._emulator.store.create(PODS, namespace, {"metadata": fresh, "spec": pod["spec"]})

    def _end(self, job: Object, end: Object) -> None:
        """Set the last condition; `cleanPodPolicy: Running` takes away what runs on."""
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        add_condition(self._emulator, TFJOBS, job, end)
        of_job = {"training.kubeflow.org/job-name": name}.items()
        pods, _ = self._emulator.store.select(
            PODS, namespace, lambda pod: of_job <= pod["metadata"].get("labels", {}).items()
        )
        for pod in pods:
            if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                self._emulator.store.delete(PODS, namespace, pod["metadata"]["name"])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
