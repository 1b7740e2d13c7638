"""Katib 0.19 in an emulated cluster: suggestions, trials, the collector, and its order of deciding how things end."""

from __future__ import annotations

import copy
import json
import math
import random
import re
import threading
import time
from typing import Any

from tests.kubeflow.emulator import Emulator
from tests.kubeflow.kubelet import COLLECTOR, Kubelet
from tests.kubeflow.observations import (
    STATES,
    UNAVAILABLE,
    is_goal_reached,
    objective,
    objective_text,
    observed,
    optimal,
    start_step,
    state,
    stop_rule,
    wanted,
)
from tests.kubeflow.operators import JOBS, TFJOBS, add_condition, condition, owned
from tests.kubeflow.store import Event, Key, Object, Refusal, now
from tests.kubeflow.suggestions import Algorithm, Choked, complaint

EXPERIMENTS: Key = ("kubeflow.org", "experiments")
SUGGESTIONS: Key = ("kubeflow.org", "suggestions")
TRIALS: Key = ("kubeflow.org", "trials")
EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"
COLLECTOR_SECONDS = 1.0

_METRIC = r"([\w|-]+)\s*=\s*([+-]?\d*(?:\.\d+)?(?:[Ee][+-]?\d+)?)"
_SERVED: tuple[Key, ...] = (("apps", "deployments"), ("", "services"))
_ENDS = {"Complete": "Succeeded", "Succeeded": "Succeeded", "Failed": "Failed"}
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
REFUSED = "Suggestion has failed"


class Katib:
    """The controllers, the algorithms' services and what the collectors do."""

    def __init__(self, emulator: Emulator, kubelet: Kubelet | None = None) -> None:
        self._emulator, self._kubelet = emulator, kubelet
        self._ended: dict[str, threading.Event] = {}
        self._changed = threading.Event()
        self._closed = False

    def handle(self, event: Event) -> None:
        name = event.object["metadata"]["name"]
        if event.key == EXPERIMENTS and event.type == "ADDED" and "algorithm" in event.object.get("spec", {}):
            threading.Thread(target=self._search, args=(event.object,), daemon=True).start()
        elif event.key in (JOBS, TFJOBS) and name in self._ended:
            types = {entry["type"] for entry in event.object.get("status", {}).get("conditions", [])}
            if event.type == "DELETED" or types & set(_ENDS):
                self._ended[name].set()

    def close(self) -> None:
        """Let go of trials that will never end now."""
        self._closed = True
        for ended in list(self._ended.values()):
            ended.set()

    def _search(self, experiment: Object) -> None:
        self._note(EXPERIMENTS, experiment, "Created", "Running")
        algorithm, refused = Algorithm(experiment["spec"]), complaint(experiment["spec"])
        self._serve(experiment)
        if refused:
            self._note(SUGGESTIONS, experiment, "Failed", message=f"Validation failed: {refused}")
            self._finish(experiment, "Failed", "ExperimentFailed", REFUSED)
            return
        self._note(SUGGESTIONS, experiment, "Running")
        while not self._closed and self._exists(experiment) and not self._conclude(experiment):
            self._changed.clear()
            self._add_trials(experiment, algorithm)
            self._changed.wait(0.1)

    def _add_trials(self, experiment: Object, algorithm: Algorithm) -> None:
        """Start what is missing; trials without metrics are not among those that Katib takes off the number."""
        spec, trials = experiment["spec"], self._trials(experiment)
        states = [state(trial) for trial in trials]
        active = states.count("Running") + states.count("Created")
        completed = sum(each in ("Succeeded", "Failed", "Killed", "EarlyStopped") for each in states)
        missing = min(spec["maxTrialCount"] - completed, spec["parallelTrialCount"]) - active
        rule = stop_rule(spec, trials, self._histories(experiment, trials))
        for _ in range(missing):
            try:
                values = algorithm.suggest([(state(trial), objective_text(experiment, trial)) for trial in trials])
            except Choked as error:
                self._warn(experiment, f"rpc error: code = Unknown desc = Exception calling application: {error}")
                return
            name = f"{experiment['metadata']['name']}-{''.join(random.choices(_LETTERS, k=8))}"
            self._start_trial(experiment, name, values, rule)

    def _start_trial(self, experiment: Object, name: str, values: dict[str, str], rule: float | None) -> None:
        namespace, of_experiment = experiment["metadata"]["namespace"], experiment["metadata"]["name"]
        labels = {**experiment["metadata"].get("labels", {}), EXPERIMENT_LABEL: of_experiment}
        metadata = {"name": name, "labels": labels, "ownerReferences": [owned(experiment, "Experiment")]}
        spec = {"parameterAssignments": [{"name": key, "value": value} for key, value in values.items()]}
        trial = self._emulator.store.create(TRIALS, namespace, {"metadata": metadata, "spec": spec})
        self._ended[name] = threading.Event()
        self._emulator.store.set_status(TRIALS, namespace, name, startTime=now(), completionTime=None)
        self._note(TRIALS, trial, "Created", "Running")
        job = substituted(experiment["spec"]["trialTemplate"], values, labels)
        key = TFJOBS if job["kind"] == "TFJob" else JOBS
        job["metadata"] = {**job.get("metadata", {}), "name": name, "ownerReferences": [owned(trial, "Trial")]}
        self._emulator.store.create(key, namespace, job)
        threading.Thread(target=self._follow_trial, args=(experiment, trial, key, rule), daemon=True).start()

    def _follow_trial(self, experiment: Object, trial: Object, key: Key, rule: float | None) -> None:
        namespace, name = trial["metadata"]["namespace"], trial["metadata"]["name"]
        while not self._ended[name].wait(0.05 if rule is not None else None):
            if rule is not None and self._kubelet is not None and self._is_worse(experiment, name, rule):
                self._kubelet.stop_early(name)
                self._note(TRIALS, trial, "EarlyStopped")
                metrics = self._observe(experiment, name)
                self._emulator.store.set_status(TRIALS, namespace, name, observation={"metrics": metrics})
                rule = None
        time.sleep(0 if self._closed else COLLECTOR_SECONDS)
        if not self._closed:
            self._end_trial(experiment, trial, key)
            self._changed.set()

    def _end_trial(self, experiment: Object, trial: Object, key: Key) -> None:
        namespace, name = trial["metadata"]["namespace"], trial["metadata"]["name"]
        try:
            job = self._emulator.store.get(key, namespace, name)
            live = self._emulator.store.get(TRIALS, namespace, name)
        except Refusal:
            return
        if state(live) == "EarlyStopped":
            return  # Katib leaves it Running, without the time of its end
        failed = any(entry["type"] == "Failed" for entry in job["status"]["conditions"])
        metrics = self._observe(experiment, name)
        is_available = any(each["name"] == objective(experiment) and each["latest"] != UNAVAILABLE for each in metrics)
        kind = "Failed" if failed else "Succeeded" if is_available else "MetricsUnavailable"
        end = condition(kind, f"Trial{kind}" if failed or is_available else kind)
        status = {"completionTime": now()} | ({} if failed else {"observation": {"metrics": metrics}})
        add_condition(self._emulator, TRIALS, trial, over("Running", "TrialRunning"), end, **status)

    def _observe(self, experiment: Object, trial: str) -> list[Object]:
        """Read the metrics as the collector does: where the objective is missing, nothing counts."""
        values = self._printed(experiment, trial)
        if objective(experiment) not in values:
            values = {}
        metrics = [observed(name, values.get(name, [])) for name in wanted(experiment)]
        random.shuffle(metrics)
        return metrics

    def _printed(self, experiment: Object, trial: str) -> dict[str, list[str]]:
        source = experiment["spec"].get("metricsCollectorSpec", {}).get("source", {})
        patterns = [re.compile(each) for each in source.get("filter", {}).get("metricsFormat") or [_METRIC]]
        logs = [log for (pod, name), log in self._emulator.logs.items() if pod.startswith(trial) and name == COLLECTOR]
        values: dict[str, list[str]] = {}
        for line in (line for log in logs for line in list(log.lines)):
            for name, value in (found for pattern in patterns for found in pattern.findall(line)):
                if name in wanted(experiment):
                    values.setdefault(name, []).append(value)
        return values

    def _is_worse(self, experiment: Object, trial: str, rule: float) -> bool:
        """Tell whether the best of a trial's reports is worse than the others' mean after the first steps."""
        texts = self._printed(experiment, trial).get(objective(experiment), [])
        if len(texts) < start_step(experiment["spec"]):
            return False
        maximize = experiment["spec"]["objective"]["type"] == "maximize"
        best = (max if maximize else min)(float(text) for text in texts)
        return best < rule if maximize else best > rule

    def _histories(self, experiment: Object, trials: list[Object]) -> dict[str, list[str]]:
        names = [trial["metadata"]["name"] for trial in trials]
        return {name: self._printed(experiment, name).get(objective(experiment), []) for name in names}

    def _trials(self, experiment: Object) -> list[Object]:
        of_experiment = {EXPERIMENT_LABEL: experiment["metadata"]["name"]}.items()
        trials, _ = self._emulator.store.select(
            TRIALS,
            experiment["metadata"]["namespace"],
            lambda trial: of_experiment <= trial["metadata"]["labels"].items(),
        )
        return sorted(trials, key=lambda trial: str(trial["metadata"]["name"]))

    def _count(self, experiment: Object) -> list[Object]:
        """Bring counts and optimum up to date; return the trials. What is zero is left out."""
        trials = self._trials(experiment)
        status: dict[str, Any] = {"trials": len(trials) or None}
        for kind, (count, listed) in STATES.items():
            names = [trial["metadata"]["name"] for trial in trials if state(trial) == kind]
            status |= {count: len(names) or None, listed: names or None}
        best = optimal(experiment, trials)
        metadata = experiment["metadata"]
        optimum = {"currentOptimalTrial": best} if best else {}
        self._emulator.store.set_status(EXPERIMENTS, metadata["namespace"], metadata["name"], **status, **optimum)
        return trials

    def _conclude(self, experiment: Object) -> bool:
        """Decide whether the Experiment has ended, in Katib's order: goal, failures, number of trials."""
        spec, trials = experiment["spec"], self._count(experiment)
        ends = [state(trial) for trial in trials]
        bad = sum(end in ("Failed", "MetricsUnavailable") for end in ends)
        done = sum(end not in ("Running", "Created") for end in ends)
        if is_goal_reached(experiment, trials):
            return self._finish(experiment, "Succeeded", "ExperimentGoalReached")
        if bad and bad >= spec.get("maxFailedTrialCount", math.inf):
            message = "Experiment has failed because max failed count has reached"
            return self._finish(experiment, "Failed", "ExperimentFailed", message)
        if done >= spec["maxTrialCount"]:
            return self._finish(experiment, "Succeeded", "ExperimentMaxTrialsReached")
        return False

    def _finish(self, experiment: Object, kind: str, reason: str, message: str = "") -> bool:
        """End the Experiment: the algorithm's Deployment and Service go, its Suggestion, Jobs and pods stay."""
        ends = [over("Running", "ExperimentRunning"), condition(kind, reason, message)]
        add_condition(self._emulator, EXPERIMENTS, experiment, *ends, completionTime=now())
        if message != REFUSED:
            gone = "Suggestion is succeeded"
            ends = [
                over("Running", gone),
                over("DeploymentReady", gone),
                condition("Succeeded", "Experiment is succeeded"),
            ]
            add_condition(self._emulator, SUGGESTIONS, experiment, *ends)
        for key in _SERVED:
            try:
                self._emulator.store.delete(key, experiment["metadata"]["namespace"], served_name(experiment))
            except Refusal:
                continue  # it went with the Experiment
        return True

    def _serve(self, experiment: Object) -> None:
        """Make the Suggestion, and what runs its algorithm."""
        metadata, store = experiment["metadata"], self._emulator.store
        labels = {**metadata.get("labels", {}), EXPERIMENT_LABEL: metadata["name"]}
        owner = {"labels": labels, "ownerReferences": [owned(experiment, "Experiment")]}
        made = {"metadata": {"name": metadata["name"], **owner}, "spec": {"algorithm": experiment["spec"]["algorithm"]}}
        try:
            suggestion = store.create(SUGGESTIONS, metadata["namespace"], made)
            for key in _SERVED:
                owner = {"labels": labels, "ownerReferences": [owned(suggestion, "Suggestion")]}
                store.create(key, metadata["namespace"], {"metadata": {"name": served_name(experiment), **owner}})
        except Refusal as refusal:
            raise AssertionError("a search of that name has left its Suggestion") from refusal
        self._note(SUGGESTIONS, experiment, "Created", "DeploymentReady")

    def _warn(self, experiment: Object, message: str) -> None:
        metadata = experiment["metadata"]
        about = {"kind": "Suggestion", "name": metadata["name"]}
        event = {"type": "Warning", "reason": "ReconcileError", "message": message, "lastTimestamp": now()}
        made = {"metadata": {"name": f"{metadata['name']}.{time.time_ns():x}"}, "involvedObject": about, **event}
        self._emulator.store.create(("", "events"), metadata["namespace"], made)

    def _note(self, key: Key, item: Object, *kinds: str, message: str = "") -> None:
        """Add conditions that hold."""
        for kind in kinds:
            add_condition(self._emulator, key, item, condition(kind, f"{key[1][:-1].title()}{kind}", message))

    def _exists(self, experiment: Object) -> bool:
        metadata = experiment["metadata"]
        try:
            live = self._emulator.store.get(EXPERIMENTS, metadata["namespace"], metadata["name"])
        except Refusal:
            return False
        return bool(live["metadata"]["uid"] == metadata["uid"])


def over(kind: str, reason: str) -> Object:
    """Return a condition that holds no more."""
    return {**condition(kind, reason), "status": "False"}


def substituted(template: Object, values: dict[str, str], labels: dict[str, str] | None = None) -> Object:
    """Paste the values into the trial's JSON text, then give the primary pod a collector, as Katib's webhook does."""
    text = json.dumps(template["trialSpec"])
    for parameter in template["trialParameters"]:
        text = text.replace(f"${{trialParameters.{parameter['name']}}}", values[parameter["reference"]])
    job: Object = json.loads(text)
    specs = job["spec"].get("tfReplicaSpecs") or {"Job": job["spec"]}
    primary = next(iter(specs.values()))["template"]
    primary["metadata"]["labels"] = {**primary["metadata"].get("labels", {}), **(labels or {})}
    container = copy.deepcopy(primary["spec"]["containers"][0])
    container["command"] = ["sh", "-c", " ".join([*container.pop("command"), *container.pop("args", [])])]
    primary["spec"]["containers"] = [container, {"name": COLLECTOR}]
    return job


def served_name(experiment: Object) -> str:
    return f"{experiment['metadata']['name']}-{experiment['spec']['algorithm']['algorithmName']}"
