"""How soon an end is seen, and that many old runs and many trials cost a step neither memory nor requests."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hyperflow.engines.kubeflow.backends import BACKENDS, Backend
from hyperflow.engines.kubeflow.jobs import condition as condition_holds
from hyperflow.engines.kubeflow.jobs import has_ended
from hyperflow.engines.kubeflow.manifests import experiment, tfjob
from hyperflow.specs.job import Backend as Kind
from tests.cluster.check import wait_for
from tests.cluster.step import train_spec, tune_spec
from tests.cluster.world import KATIB, TRAINER, World, need, without_katib
from tests.kubeflow.operators import condition
from tests.kubeflow.store import Object, Refusal

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
JOBS = {
    by: int(os.environ.get("HYPERFLOW_JOBS", number)) for by, number in (("tfjob", 50), ("trainjob", 10), ("job", 10))
}
AT_ONCE = 5
MOST_REQUESTS = {"tfjob": 13, "trainjob": 15, "job": 13}
"""What a training asks the API server; events are watched too, and the operators asked whether they are alive."""

RUNS = int(os.environ.get("HYPERFLOW_RUNS", "200"))
TRIALS = 10_000
TRIAL_OBJECTS = int(os.environ.get("HYPERFLOW_TRIALS", "100"))
"""Trial objects that exist; making all 10,000 takes minutes, so that is done by hand."""

FLAT = 1.10
"""Memory may differ by as much between two runs of the same step."""


@pytest.mark.parametrize("by", ["tfjob", "trainjob", "job"])
def test_end_of_a_training_is_seen_within_a_second(idle_world: World, by: Kind) -> None:
    need(*(TRAINER if by == "trainjob" else ()))
    world, backend, count, stop = idle_world, BACKENDS[by], JOBS[by], threading.Event()
    plural, ends = backend.resource.plural, dict[str, float]()

    def note_ends() -> None:
        for _, item in world.api.watch(world.path(plural), stop):
            if has_ended(item):
                ends.setdefault(item["metadata"]["name"], time.monotonic())

    threading.Thread(target=note_ends, daemon=True).start()

    def train(number: int) -> float:
        spec = train_spec(f"run-{number}", 0, by=by)
        model = world.volume / "models" / "line" / f"run-{number}" / "1"
        model.mkdir(parents=True)
        (model / "saved_model.pb").write_bytes(b"a model")
        with ThreadPoolExecutor(1) as pool:
            training = pool.submit(world.engine.train, spec)
            pod = wait_for(lambda: pods_of(world, backend, spec.name), "the chief's pod")[0]
            if by == "tfjob":
                wait_for(lambda: has(world, plural, spec.name, "Created"), "the operator's first word")
            world.api.patch(f"{world.path('pods', pod)}/status", {"status": succeeded(backend.container)})
            training.result(60)
            returned = time.monotonic()
        return float(returned - wait_for(lambda: ends.get(spec.name), "our own sight of the end"))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        delays = sorted(pool.map(train, range(count)))
    stop.set()
    requests = len(world.proxy.requests) / count
    p50, p99 = delays[count // 2], delays[math.ceil(count * 0.99) - 1]
    print(f"end of {count} trainings by {by} seen: p50 {p50:.3f} s, p99 {p99:.3f} s, slowest {delays[-1]:.3f} s; "
          f"{requests:.1f} requests each")  # fmt: skip
    assert (p99 if by == "tfjob" else p50) <= 1.0
    assert requests <= MOST_REQUESTS[by]


def test_finished_runs_cost_a_step_nothing(world: World) -> None:
    need(*KATIB)
    before = {verb: measure(world, verb, "before") for verb in ("train", "tune")}
    started = time.monotonic()
    admitted = world.api.create(world.path("experiments"), experiment(tune_spec("old", 0)), dryRun="All")
    with without_katib():
        parallel(lambda number: finished_run(world, f"old-{number}", admitted["spec"]), range(RUNS))
    print(f"{RUNS} finished runs made in {time.monotonic() - started:.0f} s")
    for verb, (memory, requests) in before.items():
        later_memory, later_requests = measure(world, verb, "after")
        print(f"{verb}: {memory / 2**20:.1f} MiB, {requests} requests; among {RUNS} finished runs: "
              f"{later_memory / 2**20:.1f} MiB, {later_requests} requests")  # fmt: skip
        assert later_memory < memory * FLAT
        assert later_requests <= requests + 3
    count = len(world.proxy.requests)
    assert world.engine.reap() == []
    assert len(world.proxy.requests) - count <= 4 + 2 * RUNS // 500  # one list for each of the four kinds


def test_trials_cost_a_search_nothing_while_it_runs(idle_world: World) -> None:
    few = search_with(idle_world, "few", trials=10, objects=10)
    many = search_with(idle_world, "many", trials=TRIALS, objects=TRIAL_OBJECTS)
    print(f"10 trials: {few[0] / 2**20:.1f} MiB, {few[1]} requests; {TRIALS} trials in status, {TRIAL_OBJECTS} made: "
          f"{many[0] / 2**20:.1f} MiB, {many[1]} requests")  # fmt: skip
    assert many[0] < few[0] * (FLAT if TRIAL_OBJECTS <= 100 else 3)
    assert many[1] <= few[1] + 3


def measure(world: World, verb: str, name: str) -> tuple[int, int]:
    """Run a step of its own; return its memory in bytes and its requests."""
    count = len(world.proxy.requests)
    step = subprocess.run(
        [sys.executable, "-m", "tests.cluster.step", verb, f"{name}-{verb}", "0", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=120, check=True,
    )  # fmt: skip
    memory: int = json.loads(step.stdout.splitlines()[-1])["memory"]
    return memory, len(world.proxy.requests) - count


def search_with(world: World, run_id: str, trials: int, objects: int) -> tuple[int, int]:
    """Have a step follow an Experiment through 50 states with all those trials; return its memory and requests."""
    name, count = f"tune-{run_id}", len(world.proxy.requests)
    command = [sys.executable, "-m", "tests.cluster.step", "tune", run_id, "0", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as step:
        path = world.path("experiments", name)
        wait_for(lambda: exists(world, path), "the Experiment")
        names = [f"{name}-{number:08x}" for number in range(trials)]
        parallel(lambda number: finished_trial(world, name, names[number]), range(objects))
        best = {"bestTrialName": names[0], "observation": {"metrics": [metric()]}, "parameterAssignments": [ASSIGNED]}
        for done in range(trials // 50, trials + 1, max(1, trials // 50)):
            status = {"trials": trials, "trialsSucceeded": done, "trialsRunning": trials - done}
            lists = {"succeededTrialList": names[:done], "runningTrialList": names[done:]}
            world.api.patch(f"{path}/status", {"status": {**status, **lists, "currentOptimalTrial": best}})
        end = {"conditions": [condition("Succeeded", "ExperimentMaxTrialsReached")]}
        world.api.patch(f"{path}/status", {"status": end})
        output, _ = step.communicate(timeout=300)
    assert step.returncode == 0, output
    memory: int = json.loads(output.splitlines()[-1])["memory"]
    return memory, len(world.proxy.requests) - count


ASSIGNED = {"name": "x", "value": "0.5"}


def metric() -> Object:
    return {"name": "validation-accuracy", "max": "0.9", "min": "0.1", "latest": "0.9"}


def finished_trial(world: World, of: str, name: str) -> None:
    trial = {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Trial",
        "metadata": {"name": name, "labels": {"katib.kubeflow.org/experiment": of}},
        "spec": {"parameterAssignments": [ASSIGNED]},
    }
    world.api.create(world.path("trials"), trial)
    status = {"conditions": [condition("Succeeded", "TrialSucceeded")], "observation": {"metrics": [metric()]}}
    world.api.patch(f"{world.path('trials', name)}/status", {"status": status})


def finished_run(world: World, run_id: str, search: Object) -> None:
    """Leave what a run leaves: an Experiment, as Katib would have admitted it, and a TFJob that have ended."""
    old_job = tfjob(train_spec(run_id, 0))
    old_job["spec"]["runPolicy"]["managedBy"] = "kueue.x-k8s.io/multikueue"  # so that the operator leaves it alone
    for plural, item in (("experiments", {**experiment(tune_spec(run_id, 0)), "spec": search}), ("tfjobs", old_job)):
        made = world.api.create(world.path(plural), item)
        end = {"status": {"conditions": [condition("Succeeded", "TestSaysSo")]}}
        world.api.patch(f"{world.path(plural, made['metadata']['name'])}/status", end)


def parallel(work: Callable[[int], Any], numbers: Iterable[int]) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(work, numbers):
            continue


def pods_of(world: World, backend: Backend, name: str) -> list[str]:
    key, value = backend.selector(name).split("=")
    pods = [pod["metadata"] for pod in world.items("pods")]
    return [pod["name"] for pod in pods if pod.get("labels", {}).get(key) == value]


def exists(world: World, path: str) -> bool:
    try:
        world.api.get(path)
    except Refusal:
        return False
    return True


def has(world: World, plural: str, name: str, kind: str) -> bool:
    return condition_holds(world.api.get(world.path(plural, name)), kind) is not None


def succeeded(container: str) -> Object:
    state = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    status = {"name": container, "image": "image", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return {"phase": "Succeeded", "containerStatuses": [status]}
