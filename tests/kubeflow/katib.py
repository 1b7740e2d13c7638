"""Katib in an emulated cluster: suggestions, trials, the collector, and its order of deciding how things end."""

from __future__ import annotations

import copy
import json
import math
import random
import re
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from tests.kubeflow.emulator import Emulator
from tests.kubeflow.kubelet import COLLECTOR
from tests.kubeflow.operators import JOBS, TFJOBS, add_condition, condition, owned
from tests.kubeflow.store import Event, Key, Object, Refusal, now

EXPERIMENTS: Key = ("kubeflow.org", "experiments")
TRIALS: Key = ("kubeflow.org", "trials")

_METRIC = re.compile(r"([\w|-]+)\s*=\s*([+-]?\d*(?:\.\d+)?(?:[Ee][+-]?\d+)?)")
_ENDS = {"Complete": "Succeeded", "Succeeded": "Succeeded", "Failed": "Failed"}
_COUNTS = {
    "Succeeded": "trialsSucceeded",
    "Failed": "trialsFailed",
    "MetricsUnavailable": "trialMetricsUnavailable",
    "Running": "trialsRunning",
}


class Katib:
    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._ended: dict[str, threading.Event] = {}
        self._closed = False

    def handle(self, event: Event) -> None:
        name = event.object["metadata"]["name"]
        if event.key == EXPERIMENTS and event.type == "ADDED":
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
        spec, chance, number = experiment["spec"], random.Random(1), 0
        add_condition(self._emulator, EXPERIMENTS, experiment, condition("Created", "ExperimentCreated"))
        add_condition(self._emulator, EXPERIMENTS, experiment, condition("Running", "ExperimentRunning"))
        with ThreadPoolExecutor(spec["parallelTrialCount"]) as pool:
            running: set[Future[None]] = set()
            while not self._closed and not self._conclude(experiment):
                while len(running) < spec["parallelTrialCount"] and number < spec["maxTrialCount"]:
                    number += 1
                    name = f"{experiment['metadata']['name']}-{chance.getrandbits(32):08x}"
                    running.add(pool.submit(self._run_trial, experiment, name, suggest(spec, chance)))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()

    def _run_trial(self, experiment: Object, name: str, values: dict[str, str]) -> None:
        namespace = experiment["metadata"]["namespace"]
        metadata = {
            "name": name,
            "labels": {"katib.kubeflow.org/experiment": experiment["metadata"]["name"]},
            "ownerReferences": [owned(experiment, "Experiment")],
        }
        assignments = [{"name": key, "value": value} for key, value in values.items()]
        self._ended[name] = threading.Event()
        if self._closed:
            return
        try:
            self._emulator.store.get(EXPERIMENTS, namespace, experiment["metadata"]["name"])
        except Refusal:
            return
        trial = {"metadata": metadata, "spec": {"parameterAssignments": assignments}}
        trial = self._emulator.store.create(TRIALS, namespace, trial)
        self._emulator.store.set_status(TRIALS, namespace, name, startTime=now())
        add_condition(self._emulator, TRIALS, trial, condition("Running", "TrialRunning"))
        self._count(experiment)
        job = substituted(experiment["spec"]["trialTemplate"], values)
        key = TFJOBS if job["kind"] == "TFJob" else JOBS
        job["metadata"] = {**job.get("metadata", {}), "name": name, "ownerReferences": [owned(trial, "Trial")]}
        self._emulator.store.create(key, namespace, job)
        self._ended[name].wait()
        if not self._closed:
            self._end_trial(experiment, trial, key)

    def _end_trial(self, experiment: Object, trial: Object, key: Key) -> None:
        namespace, name = trial["metadata"]["namespace"], trial["metadata"]["name"]
        try:
            job = self._emulator.store.get(key, namespace, name)
        except Refusal:
            return
        failed = any(entry["type"] == "Failed" for entry in job["status"]["conditions"])
        metrics = self._collect(experiment, name)
        self._emulator.store.set_status(TRIALS, namespace, name, observation={"metrics": metrics}, completionTime=now())
        if failed:
            end = condition("Failed", "TrialFailed", "Trial has failed")
        elif not any(metric["name"] == objective(experiment) for metric in metrics):
            end = condition("MetricsUnavailable", "MetricsUnavailable", "Metrics are not available")
        else:
            end = condition("Succeeded", "TrialSucceeded")
        add_condition(self._emulator, TRIALS, trial, end)

    def _collect(self, experiment: Object, trial: str) -> list[Object]:
        """Read the metrics of the primary pod; what is not a number is kept as the text that it is."""
        logs = [log for (pod, _), log in self._emulator.logs.items() if pod.startswith(trial)]
        wanted = [objective(experiment), *experiment["spec"]["objective"].get("additionalMetricNames", [])]
        values: dict[str, list[str]] = {}
        for line in (line for log in logs for line in log.lines):
            for name, value in _METRIC.findall(line):
                if name in wanted:
                    values.setdefault(name, []).append(value)
        return [observed(name, texts) for name, texts in values.items()]

    def _count(self, experiment: Object) -> list[Object]:
        """Bring counts and optimum up to date; return the trials."""
        namespace, name = experiment["metadata"]["namespace"], experiment["metadata"]["name"]
        of_experiment = {"katib.kubeflow.org/experiment": name}.items()
        trials, _ = self._emulator.store.select(
            TRIALS, namespace, lambda trial: of_experiment <= trial["metadata"]["labels"].items()
        )
        counts: dict[str, Any] = dict.fromkeys(_COUNTS.values(), 0)
        for trial in trials:
            counts[_COUNTS[last_condition(trial)]] += 1
        best = optimal(experiment, trials)
        optimum = {"currentOptimalTrial": best} if best else {}
        self._emulator.store.set_status(EXPERIMENTS, namespace, name, trials=len(trials), **counts, **optimum)
        return trials

    def _conclude(self, experiment: Object) -> bool:
        """Decide whether the Experiment has ended, in Katib's order: goal, failures, number of trials."""
        spec, trials = experiment["spec"], self._count(experiment)
        ends = [last_condition(trial) for trial in trials]
        bad = sum(end in ("Failed", "MetricsUnavailable") for end in ends)
        done = sum(end != "Running" for end in ends)
        best = optimal(experiment, trials)
        goal, number = spec["objective"].get("goal"), as_number(best_value(experiment, best)) if best else math.nan
        if goal is not None and (number >= goal if spec["objective"]["type"] == "maximize" else number <= goal):
            return self._finish(experiment, condition("Succeeded", "ExperimentGoalReached"))
        if bad and bad >= spec.get("maxFailedTrialCount", math.inf):
            message = "Experiment has failed because max failed count has reached"
            return self._finish(experiment, condition("Failed", "ExperimentFailed", message))
        if done >= spec["maxTrialCount"]:
            return self._finish(experiment, condition("Succeeded", "ExperimentMaxTrialsReached"))
        try:
            self._emulator.store.get(EXPERIMENTS, experiment["metadata"]["namespace"], experiment["metadata"]["name"])
        except Refusal:
            return True
        return False

    def _finish(self, experiment: Object, end: Object) -> bool:
        add_condition(self._emulator, EXPERIMENTS, experiment, end)
        return True


def substituted(template: Object, values: dict[str, str]) -> Object:
    """Paste the values into the trial's JSON text, then wrap its command for the shell, as Katib's webhook does."""
    text = json.dumps(template["trialSpec"])
    for parameter in template["trialParameters"]:
        text = text.replace(f"${{trialParameters.{parameter['name']}}}", values[parameter["reference"]])
    job: Object = json.loads(text)
    specs = job["spec"].get("tfReplicaSpecs") or {"Job": job["spec"]}
    primary = next(iter(specs.values()))["template"]["spec"]
    container = copy.deepcopy(primary["containers"][0])
    container["command"] = ["sh", "-c", " ".join([*container.pop("command"), *container.pop("args", [])])]
    primary["containers"] = [container, {"name": COLLECTOR}]
    return job


def suggest(spec: Object, chance: random.Random) -> dict[str, str]:
    values = {}
    for parameter in spec["parameters"]:
        space = parameter["feasibleSpace"]
        if "list" in space:
            values[parameter["name"]] = chance.choice(space["list"])
        elif parameter["parameterType"] == "int":
            values[parameter["name"]] = str(chance.randint(int(space["min"]), int(space["max"])))
        else:
            values[parameter["name"]] = str(chance.uniform(float(space["min"]), float(space["max"])))
    return values


def observed(name: str, texts: list[str]) -> Object:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return {"name": name, "min": "unavailable", "max": "unavailable", "latest": texts[-1]}
    return {"name": name, "min": str(min(numbers)), "max": str(max(numbers)), "latest": texts[-1]}


def objective(experiment: Object) -> str:
    return str(experiment["spec"]["objective"]["objectiveMetricName"])


def best_value(experiment: Object, optimum: Object) -> str:
    strategy = "max" if experiment["spec"]["objective"]["type"] == "maximize" else "min"
    metrics = {metric["name"]: metric for metric in optimum["observation"]["metrics"]}
    return str(metrics[objective(experiment)][strategy])


def as_number(text: str) -> float:
    return math.nan if text == "unavailable" else float(text)


def optimal(experiment: Object, trials: list[Object]) -> Object | None:
    """Choose the best of the trials that succeeded; one without a number wins over nothing, as in Katib."""
    best, best_number = None, math.nan
    for trial in trials:
        if last_condition(trial) != "Succeeded":
            continue
        observation = trial["status"]["observation"]
        found = {
            "bestTrialName": trial["metadata"]["name"],
            "parameterAssignments": trial["spec"]["parameterAssignments"],
            "observation": observation,
        }
        number = as_number(best_value(experiment, found))
        better = number > best_number if experiment["spec"]["objective"]["type"] == "maximize" else number < best_number
        if best is None or better or math.isnan(best_number):
            best, best_number = found, number
    return best


def last_condition(trial: Object) -> str:
    types = [entry["type"] for entry in trial.get("status", {}).get("conditions", [])]
    return next((kind for kind in ("Failed", "MetricsUnavailable", "Succeeded") if kind in types), "Running")
