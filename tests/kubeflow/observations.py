"""How trials stand and which is the best, as Katib reads it from their conditions and observations."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tests.kubeflow.store import Object

UNAVAILABLE = "unavailable"
STATES = {
    "Killed": ("trialsKilled", "killedTrialList"),
    "Failed": ("trialsFailed", "failedTrialList"),
    "Succeeded": ("trialsSucceeded", "succeededTrialList"),
    "EarlyStopped": ("trialsEarlyStopped", "earlyStoppedTrialList"),
    "Running": ("trialsRunning", "runningTrialList"),
    "MetricsUnavailable": ("trialMetricsUnavailable", "metricsUnavailableTrialList"),
    "Created": ("trialsPending", "pendingTrialList"),
}
"""Count and list of each state, in the order in which Katib looks for them."""


def observed(name: str, texts: list[str]) -> Object:
    """Sum a metric up; what is not a number is kept as the text that it is."""
    numbers = [text for text in texts if is_number(text)]
    least, most = min(numbers, key=float, default=UNAVAILABLE), max(numbers, key=float, default=UNAVAILABLE)
    return {"name": name, "min": least, "max": most, "latest": texts[-1] if texts else UNAVAILABLE}


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def objective(experiment: Object) -> str:
    return str(experiment["spec"]["objective"]["objectiveMetricName"])


def wanted(experiment: Object) -> list[str]:
    return [objective(experiment), *experiment["spec"]["objective"].get("additionalMetricNames", [])]


def objective_text(experiment: Object, trial: Object) -> str:
    """Return a trial's value as Katib compares it: the last text where there is no number."""
    strategy = "max" if experiment["spec"]["objective"]["type"] == "maximize" else "min"
    metrics = {metric["name"]: metric for metric in trial.get("status", {}).get("observation", {}).get("metrics", [])}
    metric = metrics.get(objective(experiment), {})
    value = metric.get(strategy, UNAVAILABLE)
    return str(metric.get("latest", UNAVAILABLE) if value == UNAVAILABLE else value)


def optimal(experiment: Object, trials: Iterable[Object]) -> Object | None:
    """Choose the best of all that have an observation; a text that is no number wins over all before it."""
    sign = 1 if experiment["spec"]["objective"]["type"] == "maximize" else -1
    best, best_number = None, math.nan
    for trial in trials:
        text = objective_text(experiment, trial)
        if text == UNAVAILABLE:
            continue
        if not is_number(text):
            best = trial
            continue
        if best is None or math.isnan(best_number) or sign * float(text) > sign * best_number:
            best, best_number = trial, float(text)
    if best is None:
        return None
    return {
        "bestTrialName": best["metadata"]["name"],
        "parameterAssignments": best["spec"]["parameterAssignments"],
        "observation": best["status"]["observation"],
    }


def is_goal_reached(experiment: Object, trials: Iterable[Object]) -> bool:
    wish = experiment["spec"]["objective"]
    texts = [objective_text(experiment, trial) for trial in trials]
    numbers = [float(text) for text in texts if is_number(text)]
    if wish.get("goal") is None or not numbers:
        return False
    goal = float(wish["goal"])
    return max(numbers) >= goal if wish["type"] == "maximize" else min(numbers) <= goal


def start_step(spec: Object) -> int:
    return int(early_stopping(spec).get("start_step", 4))


def early_stopping(spec: Object) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in spec.get("earlyStopping", {}).get("algorithmSettings", [])}


def stop_rule(spec: Object, trials: Iterable[Object], histories: dict[str, list[str]]) -> float | None:
    """Return medianstop's bound, which is a mean of means over the first steps; None as long as too few succeeded."""
    if "earlyStopping" not in spec:
        return None
    succeeded = [trial["metadata"]["name"] for trial in trials if state(trial) == "Succeeded"]
    firsts = [[float(text) for text in histories[name][: start_step(spec)]] for name in succeeded]
    if len(firsts) < int(early_stopping(spec).get("min_trials_required", 3)):
        return None
    return sum(sum(first) / len(first) for first in firsts) / len(firsts)


def state(trial: Object) -> str:
    """Return where a trial is; an earlier condition stays beside the last one."""
    held = {entry["type"] for entry in trial.get("status", {}).get("conditions", []) if entry["status"] == "True"}
    return next((kind for kind in STATES if kind in held), "Created")
