"""`kill -9` of a step at random moments, then its retry, or the reaper's visit where its run was terminated.

HYPERFLOW_KILLS=100 pytest -m cluster tests/cluster/test_kills.py -s
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from hyperflow.engines.kubeflow.jobs import has_ended
from hyperflow.errors import JobFailed
from hyperflow.specs.job import Backend
from tests.cluster.check import CheckError, wait_for
from tests.cluster.step import train_spec, tune_spec
from tests.cluster.world import KATIB, TRAINER, World, need
from tests.kubeflow.store import Object

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("HYPERFLOW_KILLS", "10"))
SEED = int(os.environ.get("HYPERFLOW_SEED", "0"))
ROOT = Path(__file__).parents[2]
PAUSE = 0.15
WRONG = ("duplicates", "orphans", "false successes", "false failures")
_TRIALS = 4


@dataclass(frozen=True)
class Way:
    """A training backend, what it makes, and what a search makes beside it."""

    by: Backend
    kinds: dict[str, str]

    def most(self, verb: str) -> int:
        """How many objects one run may have: our own search has a job for each trial."""
        return _TRIALS if self.kinds[verb] == "jobs" and verb == "tune" else 1


WAYS = (
    Way("tfjob", {"tune": "experiments", "train": "tfjobs"}),
    Way("trainjob", {"tune": "jobs", "train": "trainjobs"}),
    Way("job", {"tune": "jobs", "train": "jobs"}),
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.by)
def test_random_kills(world: World, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    need(*{"tfjob": KATIB, "trainjob": TRAINER}.get(way.by, ()))
    chance, tally = random.Random(SEED), collections.Counter[str]()
    for number in range(KILLS):
        run_id, verb = f"run-{number}", ("tune", "train")[number % 2]
        ending = chance.choices(("retried", "broken", "terminated"), (2, 1, 1))[0]
        monkeypatch.setenv("KFP_POD_NAME", _step_pod(world, run_id))
        ended = _kill_step(way, verb, run_id, 3 if ending == "broken" else 0, chance.uniform(0, 2))
        tally[f"killed {verb}, {ending}"] += 1
        tally["of these, had ended before the kill"] += ended
        if ending == "terminated":
            tally.update(_reap(world, way, verb, run_id))
        else:
            tally.update(_retry(world, way, verb, run_id, 3 if ending == "broken" else 0))
    print("\n".join(f"{count:4} {what}" for what, count in sorted(tally.items())))
    assert {what: tally[what] for what in WRONG} == dict.fromkeys(WRONG, 0)


def _step_pod(world: World, run_id: str) -> str:
    """Make the run's Workflow, and a pod of it, which the step takes for its own."""
    flow: Object = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": run_id}, "spec": {}}
    made = world.api.create(world.path("workflows"), flow)
    owner = {key: flow[key] for key in ("apiVersion", "kind")} | {"name": run_id, "uid": made["metadata"]["uid"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"step-{run_id}", "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "main", "image": "step"}]},
    }
    return str(world.api.create(world.path("pods"), pod)["metadata"]["name"])


def _kill_step(way: Way, verb: str, run_id: str, fail: int, seconds: float) -> bool:
    """Start a step and kill it some time after it is ready; return whether it had ended by itself."""
    command = [sys.executable, "-m", "tests.cluster.step", verb, run_id, str(PAUSE), str(fail), way.by]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as step:
        assert step.stdout is not None
        assert step.stdout.readline() == "ready\n"
        threading.Event().wait(seconds)
        ended = step.poll() is not None
        step.send_signal(signal.SIGKILL)
    return ended


def _retry(world: World, way: Way, verb: str, run_id: str, fail: int) -> dict[str, int]:
    cause = ""
    try:
        if verb == "tune":
            world.engine.tune(tune_spec(run_id, PAUSE, fail, way.by))
        else:
            world.engine.train(train_spec(run_id, PAUSE, fail, way.by))
    except JobFailed as error:
        cause = str(error)
    failed = f"broken as asked: {fail}" in cause if fail else bool(cause)
    trials = [item for item in world.items("trials") if _experiment(item) == f"tune-{run_id}"]
    return {
        "duplicates": max(0, len(_of_run(world, way, verb, run_id)) - way.most(verb)) + max(0, len(trials) - _TRIALS),
        "orphans": 0 if failed or fail else len(_open(world, way, verb, run_id)),
        "false successes": int(bool(fail) and not failed),
        "false failures": int(failed and not fail),
    }


def _reap(world: World, way: Way, verb: str, run_id: str) -> dict[str, int]:
    """End the run as KFP does when a user terminates it; nothing of it may be left running after `reap`."""
    world.api.patch(world.path("workflows", run_id), {"status": {"phase": "Failed"}})
    world.engine.reap()
    return {"orphans": len(_open(world, way, verb, run_id)) + _processes_left(world, verb, run_id)}


def _processes_left(world: World, verb: str, run_id: str) -> int:
    """Wait for the garbage collector and the kubelet; return how many processes of the run they left."""

    def left() -> list[str]:
        pods = world.parts.kubelet.running(world.namespace)
        return [pod for pod in pods if pod.startswith(f"{verb}-{run_id}-")]

    with contextlib.suppress(CheckError):
        wait_for(lambda: not left(), "the end of all trainers", 20)
    return len(left())


def _of_run(world: World, way: Way, verb: str, run_id: str) -> list[Object]:
    items = world.items(way.kinds[verb])
    return [item for item in items if item["metadata"].get("labels", {}).get("hyperflow.dev/run") == run_id]


def _open(world: World, way: Way, verb: str, run_id: str) -> list[Object]:
    return [
        item
        for item in _of_run(world, way, verb, run_id)
        if not (has_ended(item) or "deletionTimestamp" in item["metadata"])
    ]


def _experiment(trial: Object) -> str:
    return str(trial["metadata"]["labels"]["katib.kubeflow.org/experiment"])
