"""Kubeflow Trainer and JobSet in an emulated cluster: a TrainJob becomes a Job, with what its runtime says."""

from __future__ import annotations

import copy

from tests.kubeflow.emulator import Emulator
from tests.kubeflow.operators import JOBS, add_condition, condition, owned
from tests.kubeflow.store import Event, Key, Object, Refusal

TRAINJOBS: Key = ("trainer.kubeflow.org", "trainjobs")
RUNTIMES: Key = ("trainer.kubeflow.org", "trainingruntimes")
JOBSET = "jobset.sigs.k8s.io/jobset-name"

_ENDS = {"Complete": ("Complete", "AllJobsCompleted"), "Failed": ("Failed", "FailedJobs")}


class Trainer:
    """Knows one group of pods, and the plain policy."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def handle(self, event: Event) -> None:
        if event.key == TRAINJOBS and event.type == "ADDED":
            self._start(event.object)
        name = event.object["metadata"].get("labels", {}).get(JOBSET)
        if event.key == JOBS and event.type == "MODIFIED" and name:
            self._see(event.object, name)

    def _start(self, item: Object) -> None:
        namespace, name, spec = item["metadata"]["namespace"], item["metadata"]["name"], item["spec"]
        runtime = self._emulator.store.get(RUNTIMES, namespace, spec["runtimeRef"]["name"])
        group = copy.deepcopy(runtime["spec"]["template"]["spec"]["replicatedJobs"][0])
        job, pods = group["template"]["spec"], group["template"]["spec"]["template"]
        job |= {"completions": spec["trainer"]["numNodes"], "parallelism": spec["trainer"]["numNodes"]}
        for patch in spec.get("runtimePatches", []):
            for each in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]:
                merge(pods, each["template"]["spec"]["template"])
        main, trainer = pods["spec"]["containers"][0], spec["trainer"]
        main |= {"image": trainer["image"], "command": trainer["command"], "env": trainer["env"]}
        pods["spec"]["subdomain"] = name
        pods.setdefault("metadata", {}).setdefault("labels", {})[JOBSET] = name
        metadata = {
            "name": f"{name}-{group['name']}-0", "labels": {JOBSET: name}, "ownerReferences": [owned(item, "TrainJob")],
        }  # fmt: skip
        self._emulator.store.create(JOBS, namespace, {"metadata": metadata, "spec": job})

    def _see(self, job: Object, name: str) -> None:
        namespace = job["metadata"]["namespace"]
        for entry in job.get("status", {}).get("conditions", []):
            if entry["type"] in _ENDS:
                kind, reason = _ENDS[entry["type"]]
                item = {"metadata": {"namespace": namespace, "name": name}}
                add_condition(self._emulator, TRAINJOBS, item, condition(kind, reason, "jobset has ended"))


def merge(base: Object, patch: Object) -> None:
    """Merge as Kubernetes merges pods: lists of named things by their names."""
    for key, value in patch.items():
        if isinstance(value, dict):
            merge(base.setdefault(key, {}), value)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
            mine = {each["name"]: each for each in base.setdefault(key, [])}
            for each in value:
                if each["name"] in mine:
                    merge(mine[each["name"]], each)
                else:
                    base[key].append(each)
        else:
            base[key] = value


def runtimes(emulator: Emulator, namespace: str, documents: list[Object]) -> None:
    """Put our runtimes into a namespace."""
    for document in documents:
        try:
            emulator.store.create(RUNTIMES, namespace, document)
        except Refusal as refusal:
            if refusal.code != 409:
                raise
