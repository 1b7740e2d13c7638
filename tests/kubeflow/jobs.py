"""The Job controller of an emulated cluster: indexes, retries, rules for failures and for success.

By the Kubernetes documentation of Jobs and its controller (1.34); the cluster tests run the real one.
"""

from __future__ import annotations

import copy
import secrets
import threading

from tests.kubeflow.emulator import Emulator
from tests.kubeflow.kubelet import PODS
from tests.kubeflow.operators import JOBS, add_condition, condition, exit_code, owned
from tests.kubeflow.store import Event, Object, Refusal, now

BACK_OFF_SECONDS = 0.5
"""What the real one waits is 10 s, twice as long each time."""

NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"


class JobController:
    """Makes the pods of Jobs, and ends the Jobs as their pods have ended."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._store = emulator, emulator.store
        self._seen: set[str] = set()
        self._failures: dict[tuple[str, str], int] = {}

    def handle(self, event: Event) -> None:
        if event.key == JOBS and event.type == "ADDED":
            self._start(event.object)
        labels = event.object["metadata"].get("labels", {})
        if event.key == PODS and event.type != "ADDED" and NAME in labels:
            self._see(event)

    def _start(self, job: Object) -> None:
        if job["spec"].get("suspend"):
            return
        self._status(job, startTime=now())
        for index in range(job["spec"].get("completions", 1)):
            self._create_pod(job, str(index))

    def _create_pod(self, job: Object, index: str) -> None:
        name, template = job["metadata"]["name"], copy.deepcopy(job["spec"]["template"])
        given = template.get("metadata", {})
        labels = {**given.get("labels", {}), NAME: name}
        annotations, pod = dict(given.get("annotations", {})), f"{name}-{secrets.token_hex(3)}"
        if job["spec"].get("completionMode") == "Indexed":
            pod, labels[INDEX], annotations[INDEX] = f"{name}-{index}-{secrets.token_hex(3)}", index, index
            template["spec"].setdefault("hostname", f"{name}-{index}")
        metadata = {"name": pod, "labels": labels, "annotations": annotations, "ownerReferences": [owned(job, "Job")]}
        self._store.create(PODS, job["metadata"]["namespace"], {"metadata": metadata, "spec": template["spec"]})

    def _see(self, event: Event) -> None:
        pod, metadata = event.object, event.object["metadata"]
        phase, index = pod.get("status", {}).get("phase"), metadata.get("annotations", {}).get(INDEX, "0")
        try:
            job = self._store.get(JOBS, metadata["namespace"], metadata["labels"][NAME])
        except Refusal:
            return
        owners = [owner["uid"] for owner in metadata.get("ownerReferences", [])]
        if has_ended(job) or metadata["uid"] in self._seen or job["metadata"]["uid"] not in owners:
            return
        if event.type == "DELETED" or phase in ("Succeeded", "Failed"):
            self._seen.add(metadata["uid"])
        if phase == "Succeeded":
            self._succeeded(job, index)
        elif event.type == "DELETED":
            self._create_pod(job, index)
        elif phase == "Failed":
            self._failed(job, pod, index)

    def _succeeded(self, job: Object, index: str) -> None:
        done = {*job.get("status", {}).get("completedIndexes", "").split(","), index} - {""}
        self._status(job, completedIndexes=",".join(sorted(done)))
        wanted = [rule["succeededIndexes"] for rule in job["spec"].get("successPolicy", {}).get("rules", [])]
        if done & set(wanted) or len(done) == job["spec"].get("completions", 1):
            self._end(job, "SuccessCriteriaMet", "Complete", "SuccessPolicy" if wanted else "CompletionsReached")

    def _failed(self, job: Object, pod: Object, index: str) -> None:
        spec, uid = job["spec"], job["metadata"]["uid"]
        action, number = matched(spec.get("podFailurePolicy", {}).get("rules", []), pod)
        if action == "FailJob":
            message = (
                f"Container {pod['spec']['containers'][0]['name']} for pod {pod['metadata']['namespace']}/"
                f"{pod['metadata']['name']} failed with exit code {exit_code(pod)} matching FailJob rule at index "
                f"{number}"
            )
            return self._end(job, "FailureTarget", "Failed", "PodFailurePolicy", message)
        if action == "Ignore":
            return self._create_pod(job, index)
        times = self._failures[uid, index] = self._failures.get((uid, index), 0) + 1
        total = sum(count for (of, _), count in self._failures.items() if of == uid)
        if times > spec.get("backoffLimitPerIndex", 2**31) and spec.get("maxFailedIndexes", 2**31) == 0:
            message = "Job has exceeded the specified maximal number of failed indexes"
            return self._end(job, "FailureTarget", "Failed", "MaxFailedIndexesExceeded", message)
        if total > spec.get("backoffLimit", 6):
            message = "Job has reached the specified backoff limit"
            return self._end(job, "FailureTarget", "Failed", "BackoffLimitExceeded", message)
        threading.Timer(BACK_OFF_SECONDS * 2 ** (times - 1), self._again, (job, index)).start()
        return None

    def _again(self, job: Object, index: str) -> None:
        try:
            live = self._store.get(JOBS, job["metadata"]["namespace"], job["metadata"]["name"])
        except Refusal:
            return
        if live["metadata"]["uid"] == job["metadata"]["uid"] and not has_ended(live):
            self._create_pod(live, index)

    def _end(self, job: Object, first: str, last: str, reason: str, message: str = "") -> None:
        """Say what it will be, stop what runs, and only then say what it is."""
        add_condition(self._emulator, JOBS, job, condition(first, reason, message))
        of_job = {NAME: job["metadata"]["name"]}.items()
        pods, _ = self._store.select(
            PODS, job["metadata"]["namespace"], lambda pod: of_job <= pod["metadata"].get("labels", {}).items()
        )
        for pod in pods:
            if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                self._store.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        add_condition(self._emulator, JOBS, job, condition(last, reason, message))

    def _status(self, job: Object, **status: object) -> None:
        self._store.set_status(JOBS, job["metadata"]["namespace"], job["metadata"]["name"], **status)


def has_ended(job: Object) -> bool:
    types = {entry["type"] for entry in job.get("status", {}).get("conditions", [])}
    return bool(types & {"SuccessCriteriaMet", "FailureTarget", "Complete", "Failed"})


def matched(rules: list[Object], pod: Object) -> tuple[str, int]:
    """Return the action of the first rule that a failed pod matches, and the rule's number."""
    conditions = {(entry["type"], entry["status"]) for entry in pod["status"].get("conditions", [])}
    for number, rule in enumerate(rules):
        codes = rule.get("onExitCodes")
        if codes and (exit_code(pod) in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"], number
        if {(wanted["type"], wanted["status"]) for wanted in rule.get("onPodConditions", [])} & conditions:
            return rule["action"], number
    return "Count", -1
