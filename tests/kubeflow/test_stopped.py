"""A step that is told to stop: its job goes where the run is over, and waits for the next attempt where it is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.engines.kubeflow.watch import Feed
from tests.kubeflow.emulator import Emulator, Request
from tests.kubeflow.hand import wait_for, watched
from tests.kubeflow.kubelet import PODS
from tests.kubeflow.specs import trainer, training, tuning
from tests.kubeflow.store import Key, Object
from tests.kubeflow.world import NAMESPACE, engine_on

WORKFLOWS: Key = ("argoproj.io", "workflows")
LIFE_SECONDS = 0.6
"""How long the code of a terminated step had on KFP 2.17.0, whose launcher dies at once and takes it along.

Argo's executor looks once a second whether the launcher lives, so it may also be less.
"""

LATENCY = 0.15
"""Seconds after which the API server answers, while a step parts from its job."""

STEP = """
import sys
from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.steps import begin
from tests.kubeflow.specs import trainer, training, tuning
with begin(sys.argv[1], "run-1"):
    engine = KubeflowEngine()
    if sys.argv[1] == "tune":
        engine.tune(tuning(trainer=trainer(pause=0.3)))
    else:
        engine.train(training(trainer=trainer(pause=0.3)))
"""
VERBS = pytest.mark.parametrize(("verb", "plural"), [("tune", "experiments"), ("train", "tfjobs")])

TERMINATED: dict[str, Object] = {
    "by KFP": {"spec": {"activeDeadlineSeconds": 0}},
    "by Argo": {"spec": {"shutdown": "Terminate"}},
    "by its time limit": {"spec": {"activeDeadlineSeconds": 60}, "started": timedelta(minutes=2)},
    "by its end": {"phase": "Failed"},
    "by its deletion": {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
}
GOING_ON: dict[str, Object] = {
    "running": {},
    "within its time limit": {"spec": {"activeDeadlineSeconds": 600}, "started": timedelta(minutes=2)},
    "not begun": {"spec": {"activeDeadlineSeconds": 600}},
}


@pytest.fixture
def in_workflow(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have steps run in a pod of a Workflow."""
    monkeypatch.setenv("KFP_POD_NAME", "step-pod")
    engine_on(emulator, tmp_path)  # it leaves the kubeconfig for the step
    made = emulator.store.create(WORKFLOWS, NAMESPACE, {"metadata": {"name": "flow"}, "spec": {}})
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "flow", "uid": made["metadata"]["uid"]}
    metadata = {"name": "step-pod", "ownerReferences": [{**owner, "controller": True}]}
    containers = [{"name": "main", "command": ["true"]}]
    emulator.store.create(PODS, NAMESPACE, {"metadata": metadata, "spec": {"containers": containers}})


def change_workflow(emulator: Emulator, change: Object) -> None:
    live = emulator.store.get(WORKFLOWS, NAMESPACE, "flow")
    metadata = {**live["metadata"], **change.get("metadata", {})}
    emulator.store.replace(WORKFLOWS, NAMESPACE, {**live, "metadata": metadata, "spec": change.get("spec", {})})
    started = datetime.now(UTC) - change.get("started", timedelta())
    begun = {"startedAt": started.strftime("%Y-%m-%dT%H:%M:%SZ")} if "started" in change else {}
    emulator.store.set_status(WORKFLOWS, NAMESPACE, "flow", phase=change.get("phase", "Running"), **begun)


@contextmanager
def running(emulator: Emulator, verb: str, plural: str) -> Iterator[subprocess.Popen[str]]:
    """Give a step that follows its job."""
    command = [sys.executable, "-c", STEP, verb]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as step:
        try:
            watched(emulator, plural)
            yield step
        finally:
            step.kill()


def stop(emulator: Emulator, step: subprocess.Popen[str]) -> tuple[str, list[Request]]:
    """Stop a step as a terminated pod is, with a slow API server; return its words, and what it asked since."""
    before, emulator.latency = len(emulator.requests), LATENCY
    step.send_signal(signal.SIGTERM)
    killed = threading.Timer(LIFE_SECONDS, os.kill, (step.pid, signal.SIGKILL))
    killed.start()
    said, _ = step.communicate(timeout=30)
    killed.cancel()
    emulator.latency = 0.0
    return said, emulator.requests[before:]


def parting(asked: list[Request], plural: str) -> list[str]:
    """Return what a step asked about its run and its job; its threads may still begin to watch."""
    return [request.verb for request in asked if request.resource in ("workflows", plural) and request.verb != "watch"]


def items(emulator: Emulator, plural: str) -> list[Object]:
    return emulator.store.select(("kubeflow.org", plural), NAMESPACE)[0]


@pytest.mark.usefixtures("in_workflow")
class TestStopped:
    @VERBS
    @pytest.mark.parametrize("how", TERMINATED)
    def test_job_of_a_terminated_run_is_deleted_while_the_step_lives(
        self, emulator: Emulator, verb: str, plural: str, how: str
    ) -> None:
        change_workflow(emulator, {})
        with running(emulator, verb, plural) as step:
            change_workflow(emulator, TERMINATED[how])
            _, asked = stop(emulator, step)
        assert parting(asked, plural) == ["get", "delete"]
        wait_for(lambda: not items(emulator, plural))

    @VERBS
    def test_job_of_a_run_that_is_gone_is_deleted(self, emulator: Emulator, verb: str, plural: str) -> None:
        pod = emulator.store.get(PODS, NAMESPACE, "step-pod")
        pod["metadata"]["ownerReferences"][0]["name"] = "gone"
        emulator.store.replace(PODS, NAMESPACE, pod)
        with running(emulator, verb, plural) as step:
            stop(emulator, step)
        wait_for(lambda: not items(emulator, plural))

    @VERBS
    @pytest.mark.parametrize("how", GOING_ON)
    def test_job_of_a_run_that_goes_on_is_left_to_the_next_attempt(
        self, emulator: Emulator, operators: None, tmp_path: Path, verb: str, plural: str, how: str
    ) -> None:
        change_workflow(emulator, GOING_ON[how])
        with running(emulator, verb, plural) as step:
            said, asked = stop(emulator, step)
        assert "may start this step again" in said
        assert parting(asked, plural) == ["get"]
        (left,) = items(emulator, plural)
        engine = engine_on(emulator, tmp_path)
        if verb == "tune":
            assert engine.tune(tuning(trainer=trainer(pause=0.3))).best.value
        else:
            assert engine.train(training(trainer=trainer(pause=0.3))).metrics["epoch"] == 3
        (taken_up,) = items(emulator, plural)
        assert taken_up["metadata"]["uid"] == left["metadata"]["uid"]

    def test_job_is_left_to_the_reaper_where_the_run_cannot_be_read(
        self, emulator: Emulator, engine: KubeflowEngine
    ) -> None:
        emulator.denied.add(("get", "workflows"))
        with running(emulator, "train", "tfjobs") as step:
            said, _ = stop(emulator, step)
        assert "may still run" in said
        assert items(emulator, "tfjobs")
        emulator.denied.clear()
        change_workflow(emulator, TERMINATED["by KFP"])
        assert engine.reap() == ["TFJob train-run-1"]


@VERBS
def test_job_made_outside_of_a_run_is_deleted(emulator: Emulator, tmp_path: Path, verb: str, plural: str) -> None:
    engine_on(emulator, tmp_path)
    with running(emulator, verb, plural) as step:
        _, asked = stop(emulator, step)
    assert parting(asked, plural) == ["delete"]
    wait_for(lambda: not items(emulator, plural))


@pytest.mark.timeout(20)
def test_signal_that_another_thread_got_wakes_a_waiting_feed(engine: KubeflowEngine) -> None:
    def told(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, told)
    elsewhere = threading.Timer(0.3, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
    try:
        elsewhere.start()
        with Feed(engine.cluster) as feed, pytest.raises(KeyboardInterrupt):
            feed.next(60)
    finally:
        signal.signal(signal.SIGUSR1, before)
