"""The quick suite's imitation of Katib held against the real one: the same Experiments, the same to be seen of them."""

from __future__ import annotations

import collections
import dataclasses
import math
import os
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from hyperflow import volume
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.manifests import experiment
from hyperflow.engines.kubeflow.resources import EXPERIMENT, SUGGESTION, TRIAL
from hyperflow.specs import Dimension, EarlyStopping, Objective, Trainer, TuneSpec
from hyperflow.volume import MOUNT_PATH
from tests.cluster.check import wait_for
from tests.cluster.world import KATIB, cluster_world, need
from tests.kubeflow.specs import trainer, tuning
from tests.kubeflow.store import Object
from tests.kubeflow.world import kubeflow_world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SETTLING_SECONDS = 1.5
CASES = {
    "all succeed": tuning(max_trials=3),
    "one after the other": tuning(max_trials=3, parallel_trials=1, objective=Objective("loss", "minimize")),
    "goal reached": tuning(max_trials=8, parallel_trials=1, objective=Objective(goal=0.1, additional=("loss",))),
    "all fail": tuning(parallel_trials=1, trainer=trainer(fail=3)),
    "every other fails": tuning(parallel_trials=1, max_failed_trials=4, trainer=trainer(fail=3, every_other=1)),
    "none gives a number": tuning(parallel_trials=1, trainer=trainer(nan=1)),
    "every other gives no number": tuning(
        parallel_trials=1, max_failed_trials=4, trainer=trainer(nan=1, every_other=1)
    ),
    "stopped early": tuning(
        search_space=(Dimension("x", "double", 0.29, 0.31),),
        parallel_trials=1,
        max_trials=3,
        epochs=8,
        early_stopping=EarlyStopping(1, 2),
        trainer=trainer(pause=0.4, bad_x=1.5, every_other=1),
    ),
    "metric that nobody prints": tuning(parallel_trials=1, objective=Objective("f1")),
}


Sight = dict[str, Any]


@pytest.fixture(scope="module")
def imitated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sight]:
    need(*KATIB)
    return look(kubeflow_world, tmp_path_factory.mktemp("imitated"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sight]:
    return look(cluster_world, tmp_path_factory.mktemp("real"))


@pytest.mark.parametrize("name", CASES)
def test_imitation_is_as_the_real_one(name: str, imitated: dict[str, Sight], real: dict[str, Sight]) -> None:
    assert imitated[name] == real[name]


def look(world: Callable[[Path], AbstractContextManager[object]], folder: Path) -> dict[str, Sight]:
    """Have a Katib search for all cases at once, and tell what there is to see of each when all has ended."""
    specs = {
        name: dataclasses.replace(spec, run_id=f"r-{number}", trainer=counting(spec, number))
        for number, (name, spec) in enumerate(CASES.items())
    }
    with patch.dict(os.environ, {volume.ENVIRONMENT: str(folder)}), world(folder):
        cluster = Cluster(patience=30)
        for spec in specs.values():
            cluster.create(EXPERIMENT, experiment(spec))
        wait_for(lambda: all(has_ended(cluster, spec) for spec in specs.values()), "the end of all trials", 200)
        seen, before = {}, None
        while seen != before:  # what follows from the end comes a moment later
            time.sleep(SETTLING_SECONDS)
            seen, before = {name: picture(cluster, spec) for name, spec in specs.items()}, seen
    return seen


def counting(spec: TuneSpec, number: int) -> Trainer:
    """Return a trainer that knows which start it is of its own search."""
    arguments = {**spec.trainer.arguments, "count_in": f"{MOUNT_PATH}/starts-{number}"}
    return dataclasses.replace(spec.trainer, arguments=arguments)


def picture(cluster: Cluster, spec: TuneSpec) -> Sight:
    item, trials = cluster.get(EXPERIMENT, spec.name), trials_of(cluster, spec)
    assert item is not None
    status = item["status"]
    best = (status.get("currentOptimalTrial") or {}).get("bestTrialName") or ""
    return {
        "conditions": conditions(item),
        "counts": {name: value for name, value in status.items() if isinstance(value, int)},
        "lists": {name: len(value) for name, value in status.items() if name.endswith("TrialList") and value},
        "completion": bool(status.get("completionTime")),
        "best": [conditions(trial) for trial in trials if trial["metadata"]["name"] == best],
        "trials": collections.Counter(repr(appearance(spec, trial)) for trial in trials),
        "suggestion": conditions(cluster.get(SUGGESTION, spec.name) or {}),
    }


def has_ended(cluster: Cluster, spec: TuneSpec) -> bool:
    item = cluster.get(EXPERIMENT, spec.name)
    trials = trials_of(cluster, spec)
    return bool(item and ends(item) and trials and all(ends(trial) for trial in trials)
                and ends(cluster.get(SUGGESTION, spec.name) or {}))  # fmt: skip


def ends(item: Object) -> set[str]:
    holding = {entry["type"] for entry in item.get("status", {}).get("conditions", []) if entry["status"] == "True"}
    return holding & {"Succeeded", "Failed", "MetricsUnavailable", "EarlyStopped"}


def trials_of(cluster: Cluster, spec: TuneSpec) -> list[Object]:
    items: list[Object] = cluster.list(TRIAL, labelSelector=f"katib.kubeflow.org/experiment={spec.name}")["items"]
    return items


def conditions(item: Object) -> list[tuple[str, str, str]]:
    """Return what holds of an object and what no longer does; the Job's own reason, behind a dot, is not Katib's."""
    entries = item.get("status", {}).get("conditions", [])
    return sorted((entry["type"], entry["status"], entry["reason"].split(".")[0]) for entry in entries)


def appearance(spec: TuneSpec, trial: Object) -> Sight:
    """Return what a trial looks like, with kinds of values in the place of values."""
    status = trial["status"]
    metrics = (status.get("observation") or {}).get("metrics", [])
    return {
        "name": bool(re.fullmatch(rf"{spec.name}-[a-z0-9]{{8}}", trial["metadata"]["name"])),
        "parameters": [entry["name"] for entry in trial["spec"]["parameterAssignments"]],
        "conditions": conditions(trial),
        "times": [bool(status.get(name)) for name in ("startTime", "completionTime")],
        "observation": sorted((metric["name"], *map(kind, (metric["min"], metric["max"], metric["latest"])))
                              for metric in metrics),
    }  # fmt: skip


def kind(text: str) -> str:
    try:
        return "number" if math.isfinite(float(text)) else "no finite number"
    except ValueError:
        return text
