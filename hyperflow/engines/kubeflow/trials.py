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


def read(spec: TuneSpec, items: Iterable[Manifest]) -> tuple[Trial, ...]:
    """Read all trials, in the order they were made."""
    in_order = sorted(items, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))
    return tuple(_trial(spec, item) for item in in_order)


def is_usable(value: float | None) -> bool:
    """Tell whether an objective's value means anything: a trainer prints a penalty for what is not finite."""
    return value is not None and math.isfinite(value) and abs(value) < PENALTY


def _trial(spec: TuneSpec, item: Manifest) -> Trial:
    status = item.get("status", {})
    assignments = {entry["name"]: entry["value"] for entry in item["spec"].get("parameterAssignments", [])}
    observed = {metric["name"]: metric for metric in status.get("observation", {}).get("metrics") or []}
    strategy = "max" if spec.objective.direction == "maximize" else "min"
    objective = observed.get(spec.objective.metric, {})
    latest = {name: _number(metric.get("latest")) for name, metric in observed.items()}
    return Trial(
        name=item["metadata"]["name"],
        status=next((name for kind, name in _STATUSES if condition(item, kind)), "running"),
        parameters={p.name: _value(p, assignments[p.name]) for p in spec.search_space if p.name in assignments},
        value=_number(objective.get(strategy)),
        metrics={name: value for name, value in latest.items() if value is not None},
        seconds=_seconds(status),
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


def _seconds(status: Manifest) -> float:
    if not (status.get("startTime") and status.get("completionTime")):
        return 0.0
    start, end = (datetime.fromisoformat(status[key]) for key in ("startTime", "completionTime"))
    return (end - start).total_seconds()
