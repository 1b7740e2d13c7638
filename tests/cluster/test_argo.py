"""Retry, eviction, termination and the reaper through the real Argo, with KFP's stock defaults and without.

The step runs in a pod of Argo's own making, under its executor, and KFP's launcher is played by a program that dies of
SIGTERM at once, as that does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.cluster import driver
from tests.cluster.argo import CONTROLLER, COPIER, EMPTY, EXECUTOR, STOCK, argo, attempts, ended, submit
from tests.cluster.check import wait_for
from tests.cluster.isolated import can_isolate
from tests.cluster.world import ACCOUNT, World, need
from tests.kfp.compiler import Compiler, load
from tests.kfp.driver import drive
from tests.kfp.play import finished, size
from tests.kubeflow.store import Object

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PATCH = Path(__file__).parents[2] / "manifests" / "admin" / "retry-failed-steps.yaml"
ALWAYS: Object = yaml.safe_load(yaml.safe_load(PATCH.read_text())["data"]["workflowDefaults"])
DEFAULTS = {"empty": EMPTY, "stock": STOCK, "patched": ALWAYS}
JOBS = {"tune": "experiments", "train": "tfjobs"}
RETRIED = {"empty": {"Failed"}, "stock": {"Error"}, "patched": {"Failed", "Error"}}
"""The phases after which Argo runs a step again."""

KILL, TERM = 9, 15
SHORT, LONG, ENDLESS = 0.3, 3.0, 60.0
"""Seconds of an epoch: a job that is soon over, one that outlives its step's move, and one that outlives the test."""

FLOW = "flow"

of_each = pytest.mark.parametrize("verb", JOBS)
with_each = pytest.mark.parametrize("defaults", DEFAULTS)


@pytest.fixture(autouse=True)
def needed() -> None:
    need(CONTROLLER, EXECUTOR)
    if not can_isolate():
        pytest.skip("this machine lets us make no mount and process namespaces")


class Run:
    """A run of one step, and what the cluster has of it."""

    def __init__(self, world: World, verb: str) -> None:
        self.world, self.verb, self.id = world, verb, "run-1"

    def start(self, pause: float, crash: int = 0) -> None:
        """Submit the Workflow."""
        argv = ["python", "-m", "tests.cluster.workflow_step", self.verb, self.id, str(pause), str(crash)]
        submit(self.world, FLOW, self.id, argv)

    def jobs(self) -> list[Object]:
        """Return the run's Experiments or TFJobs."""
        return self.world.items(JOBS[self.verb])

    def working(self) -> Object:
        """Wait until the job's own pods run; return the job."""
        wait_for(self._has_trainers, "a running trainer", 120)
        (job,) = self.jobs()
        return job

    def pods(self) -> list[Object]:
        """Return the step's pods."""
        mine = [item for item in self.world.items("pods") if "pipeline/runid" in item["metadata"].get("labels", {})]
        return sorted(mine, key=lambda item: str(item["metadata"]["creationTimestamp"]))

    def phases(self) -> list[str]:
        """Return how far Argo takes the attempts of the step to be."""
        return [str(node["phase"]) for node in attempts(self.world.api.get(self.world.path("workflows", FLOW)))]

    def started(self) -> int:
        """Return how many attempts of the step have begun."""
        path = self.world.volume / "runs" / self.id / "attempts"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def terminate(self) -> None:
        """Do what KFP's API server does when a user terminates the run."""
        path = self.world.path("workflows", FLOW)
        self.world.api.patch(path, {"spec": {"activeDeadlineSeconds": 0}})

    def _has_trainers(self) -> bool:
        running = self.world.parts.kubelet.running(self.world.namespace)
        return any(name.startswith(f"{self.verb}-{self.id}") for name in running)


@contextmanager
def run_of(world: World, verb: str, defaults: str) -> Iterator[Run]:
    with argo(world, DEFAULTS[defaults]):
        yield Run(world, verb)


@of_each
@with_each
def test_step_that_was_killed_is_retried_where_the_policy_lets_it(world: World, verb: str, defaults: str) -> None:
    """The stock defaults of KFP 2.17 retry no step that has ended with an error of its own."""
    with run_of(world, verb, defaults) as run:
        run.start(ENDLESS if defaults == "stock" else SHORT, crash=KILL)
        item = ended(world, FLOW, 240)
        (job,) = run.jobs()
        first = attempts(item)[0]
        assert (first["phase"], first["outputs"]["exitCode"]) == ("Failed", str(128 + KILL))
        if defaults == "stock":
            assert (item["status"]["phase"], run.started()) == ("Failed", 1)
            assert world.engine.reap() == [f"{job['kind']} {job['metadata']['name']}"]
        else:
            assert (item["status"]["phase"], run.started()) == ("Succeeded", 2)
            assert world.engine.reap() == []


@of_each
@with_each
def test_step_that_is_evicted_leaves_its_job_to_the_next_attempt(world: World, verb: str, defaults: str) -> None:
    """A pod that is gone is an error to Argo; it is a failure if Argo was quick enough to see how the pod ended."""
    with run_of(world, verb, defaults) as run:
        run.start(LONG)
        job = run.working()
        wait_for(lambda: run.phases() == ["Running"], "Argo to see that the step runs", 60)
        (pod,) = run.pods()
        metadata = {key: pod["metadata"][key] for key in ("name", "namespace")}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        world.api.create(world.path("pods", f"{metadata['name']}/eviction"), eviction)
        item = ended(world, FLOW, 240)
        print(defaults, item["status"]["phase"], [(one["phase"], one.get("message")) for one in attempts(item)])
        first = attempts(item)[0]
        seen = {"Error": "pod deleted", "Failed": f"main: Error (exit code {128 + TERM})"}
        assert first.get("message") == seen[first["phase"]]
        (left,) = run.jobs()
        assert left["metadata"]["uid"] == job["metadata"]["uid"]
        if first["phase"] in RETRIED[defaults]:
            assert (item["status"]["phase"], run.started()) == ("Succeeded", 2)
        else:
            assert (item["status"]["phase"], run.started()) == (first["phase"], 1)


@of_each
@with_each
def test_step_of_a_terminated_run_deletes_its_job_or_leaves_it_to_the_reaper(
    world: World, verb: str, defaults: str
) -> None:
    """Argo's executor looks once a second whether the launcher lives: the step has from nothing to a second."""
    with run_of(world, verb, defaults) as run:
        run.start(ENDLESS)
        job = run.working()
        run.terminate()
        item = ended(world, FLOW)
        assert (item["status"]["phase"], run.started()) == ("Failed", 1)
        reaped = world.engine.reap()
        print(f"{verb}, {defaults}: deleted by {'the reaper' if reaped else 'the step'}")
        assert reaped in ([], [f"{job['kind']} {job['metadata']['name']}"])
        wait_for(lambda: not run.jobs(), "the end of the job", 30)


@of_each
def test_job_of_a_step_that_is_gone_is_reaped_when_its_run_is_terminated(world: World, verb: str) -> None:
    """A node that is lost says nothing to its pods, and takes the step along."""
    with run_of(world, verb, "empty") as run:
        run.start(ENDLESS)
        job = run.working()
        for pod in run.pods():
            world.parts.kubelet.lose(pod["metadata"]["uid"])
        run.terminate()
        assert world.engine.reap() == [f"{job['kind']} {job['metadata']['name']}"]
        wait_for(lambda: not run.jobs(), "the end of the job", 10)


def test_estimated_size_is_that_of_a_workflow_that_argo_has_finished(world: World) -> None:
    """The quick suite says how large a finished Workflow gets without Argo: here it is held against one."""
    specification, platform = load("train_and_serve")
    programs = {"driver": ["python", "-m", "tests.cluster.driver"], "launcher": [*COPIER, "--idle"]}
    made = Compiler(specification, platform, programs, claim="hyperflow").workflow("train-and-serve", "run-1", ACCOUNT)
    drivers = drive("train_and_serve", specification, platform)
    outputs = {path.rpartition("/")[2]: values for path, values in drivers.items()}
    (world.volume / driver.NAME).write_text(json.dumps(outputs))
    with argo(world, EMPTY):
        world.api.create(world.path("workflows"), made)
        real = ended(world, "train-and-serve", 500)
    assert real["status"]["phase"] == "Succeeded"
    estimated = finished(made, drivers)
    nodes = {node["type"] for node in real["status"]["nodes"].values()}
    print(f"real: {size(real)} bytes, {len(real['status']['nodes'])} nodes {nodes}; estimated: {size(estimated)}")
    assert len(estimated["status"]["nodes"]) == len(real["status"]["nodes"])
    assert size(real) == pytest.approx(size(estimated), rel=0.02)
