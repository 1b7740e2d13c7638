"""Katib's Trial objects as values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from hyperflow.engines.kubeflow.jobs import condition
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.metrics import PENALTY
from hyperflow.specs import Dimension, Trial, TuneSpec, Value

Status = Literal["succeeded", "failed", "early-stopped", "killed", "running", "metrics-unavailable"]

# The order matters: Katib leaves earlier conditions standing beside the last one.
_STATUSES: tuple[tuple[str, Status], ...] = (
    ("Failed", "failed"),
    ("Killed", "killed"),
    ("MetricsUnavailable", "metrics-unavailable"),
    ("EarlyStopped", "early-stopped"),
    ("Succeeded", "succeeded"),
)


ENDS = tuple(kind for kind, _ in _STATUSES)
"""The conditions in which a trial has ended."""


def read(spec: TuneSpec, items: Iterable[Manifest]) -> tuple[Trial, ...]:
    """Read all trials, in the order they were made."""
    in_order = sorted(items, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))
    return tuple(_trial(spec, item) for item in in_order)


def is_usable(value: float | None) -> bool:
    """Tell whether an objective's value means anything: a trainer prints a penalty for what is not finite."""
    return value is not None and math.isfinite(value) and abs(value) < PENALTY


def objective(spec: TuneSpec, observed: Manifest) -> float | None:
    """Return the objective's value in a trial's status or in an Experiment's optimum; None where it is no number."""
    strategy = "max" if spec.objective.direction == "maximize" else "min"
    return _number(_observed(observed).get(spec.objective.metric, {}).get(strategy))


def _observed(status: Manifest) -> dict[str, Manifest]:
    metrics = (status.get("observation") or {}).get("metrics") or []
    return {metric["name"]: metric for metric in metrics}


def _trial(spec: TuneSpec, item: Manifest) -> Trial:
    status = item.get("status", {})
    assignments = {entry["name"]: entry["value"] for entry in item["spec"].get("parameterAssignments", [])}
    latest = {name: _number(metric.get("latest")) for name, metric in _observed(status).items()}
    return Trial(
        name=item["metadata"]["name"],
        status=next((name for kind, name in _STATUSES if condition(item, kind)), "running"),
        parameters={p.name: _value(p, assignments[p.name]) for p in spec.search_space if p.name in assignments},
        value=objective(spec, status),
        metrics={name: value for name, value in latest.items() if value is not None},
        seconds=_seconds(item),
    )


def _value(parameter: Dimension, text: str) -> Value:
    """Give a value the type that its parameter has; Katib has only texts."""
    if parameter.type == "categorical":
        return text
    number = float(text)
    return int(number) if parameter.type == "int" or (parameter.type == "discrete" and number.is_integer()) else number


def _number(text: object) -> float | None:
    try:
        number = float(str(text))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds(item: Manifest) -> float:
    """Return how long a trial ran; Katib notes the end of one that was stopped early in its condition alone."""
    status, stopped = item.get("status", {}), condition(item, "EarlyStopped") or {}
    started, ended = status.get("startTime"), status.get("completionTime") or stopped.get("lastTransitionTime")
    if not (started and ended):
        return 0.0
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
