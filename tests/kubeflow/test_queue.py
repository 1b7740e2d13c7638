"""A job that waits in Kueue's queue: its time begins when it may start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.engines.kubeflow.queueing import QueueTime
from hyperflow.errors import HyperflowError, JobFailed, JobTimeout
from hyperflow.specs import Compute
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.operators import JOBS, TFJOBS
from tests.kubeflow.specs import training, tuning
from tests.kubeflow.store import Key, Object, Refusal
from tests.kubeflow.world import NAMESPACE

SECONDS = 3  # an object's creationTimestamp is whole seconds, so up to one of them is gone when it is made


class Waiting(threading.Thread):
    """A step that waits for its job."""

    def __init__(self, step: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.error: HyperflowError | None = None
        self._step = step

    def run(self) -> None:
        try:
            self._step()
        except HyperflowError as error:
            self.error = error


def suspend(emulator: Emulator, name: str, held: bool) -> None:
    """Do what Kueue and then the operator do: hold a job, or let it go and note the time."""
    let_go(emulator, name, held)
    conditions = [{"type": "Suspended", "status": str(held)}]
    started = {} if held else {"startTime": datetime.now(UTC).isoformat()}
    emulator.store.set_status(TFJOBS, NAMESPACE, name, conditions=conditions, **started)


def let_go(emulator: Emulator, name: str, held: bool = False) -> None:
    """Do Kueue's part alone."""
    job = item(emulator, TFJOBS, name)
    policy = {**job["spec"]["runPolicy"], "suspend": held}
    emulator.store.replace(TFJOBS, NAMESPACE, {**job, "spec": {**job["spec"], "runPolicy": policy}})


def item(emulator: Emulator, key: Key, name: str) -> Object:
    deadline = time.monotonic() + 20
    while True:
        try:
            return emulator.store.get(key, NAMESPACE, name)
        except Refusal:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_time_in_the_queue_counts_against_no_timeout(emulator: Emulator, engine: KubeflowEngine) -> None:
    spec = training(timeout=SECONDS, compute=Compute(queue="team"))
    waiting = Waiting(lambda: engine.train(spec))
    waiting.start()
    suspend(emulator, spec.name, True)
    waiting.join(1.5 * SECONDS)
    assert waiting.is_alive()
    let_go(emulator, spec.name)
    waiting.join(SECONDS / 2)  # the operator takes its time
    assert waiting.is_alive()
    suspend(emulator, spec.name, False)
    emulator.store.set_status(
        TFJOBS, NAMESPACE, spec.name, conditions=[{"type": "Failed", "status": "True", "message": "seen"}]
    )
    waiting.join(20)
    assert waiting.error is not None
    assert "seen" in waiting.error.what
    assert not isinstance(waiting.error, JobTimeout)


def test_time_after_the_queue_counts(emulator: Emulator, engine: KubeflowEngine) -> None:
    spec = training(timeout=SECONDS, compute=Compute(queue="team"))
    waiting = Waiting(lambda: engine.train(spec))
    waiting.start()
    suspend(emulator, spec.name, True)
    waiting.join(1.5 * SECONDS)
    suspend(emulator, spec.name, False)
    waiting.join(20)
    assert isinstance(waiting.error, JobTimeout)


@pytest.mark.parametrize("queue", ["", "team"])
def test_a_job_that_nobody_holds_has_its_time_from_the_start(
    emulator: Emulator, engine: KubeflowEngine, queue: str
) -> None:
    with pytest.raises(JobTimeout):
        engine.train(training(timeout=SECONDS, compute=Compute(queue=queue)))


EXPERIMENTS = ("kubeflow.org", "experiments")


@pytest.mark.parametrize(("queue", "kind"), [("team", JobFailed), ("", JobTimeout)])
def test_time_that_all_trials_wait_counts_against_no_timeout(
    emulator: Emulator, engine: KubeflowEngine, queue: str, kind: type[JobFailed]
) -> None:
    spec = tuning(timeout=SECONDS, compute=Compute(queue=queue))
    waiting = Waiting(lambda: engine.tune(spec))
    waiting.start()
    item(emulator, EXPERIMENTS, spec.name)
    created = [{"type": "Running", "status": "True"}]
    emulator.store.set_status(EXPERIMENTS, NAMESPACE, spec.name, trialsRunning=2, conditions=created)
    waiting.join(1.5 * SECONDS)
    assert waiting.is_alive() is bool(queue)
    if queue:
        failed = [{"type": "Failed", "status": "True", "message": "seen"}]
        emulator.store.set_status(EXPERIMENTS, NAMESPACE, spec.name, conditions=failed)
    waiting.join(20)
    assert type(waiting.error) is kind


@pytest.mark.parametrize(("queue", "kind"), [("team", JobFailed), ("", JobTimeout)])
def test_time_that_all_trials_of_our_own_search_wait_counts_against_no_timeout(
    emulator: Emulator, engine: KubeflowEngine, queue: str, kind: type[JobFailed]
) -> None:
    emulator.kinds["kueue.x-k8s.io/v1beta1"] = ("localqueues",)
    spec = tuning(timeout=SECONDS, tuner="job", max_trials=1, max_failed_trials=1, compute=Compute(queue=queue))
    waiting = Waiting(lambda: engine.tune(spec))
    waiting.start()
    name = f"{spec.name}-000"
    item(emulator, JOBS, name)
    suspended = [{"type": "Suspended", "status": "True"}]
    emulator.store.set_status(JOBS, NAMESPACE, name, conditions=suspended)
    waiting.join(1.5 * SECONDS)
    assert waiting.is_alive() is bool(queue)
    emulator.store.set_status(JOBS, NAMESPACE, name, conditions=[{"type": "Failed", "status": "True"}])
    waiting.join(20)
    assert type(waiting.error) is kind


def test_a_search_waits_while_trials_are_open_and_none_has_a_pod(tmp_path: Path) -> None:
    now = [0.0]
    queue = QueueTime(True, tmp_path / "queue.json", lambda: now[0])
    now[0] = 5  # no trial is open yet: Katib is at work
    queue.see_open(2)
    now[0] = 15
    assert (queue.is_waiting, queue.seconds) == (True, 10)
    pod: Object = {"metadata": {"uid": "1"}, "status": {"phase": "Pending"}}
    queue.see_pod(pod, False)
    now[0] = 40
    assert (queue.is_waiting, queue.seconds) == (False, 10)
    queue.see_pod({**pod, "status": {"phase": "Succeeded"}}, False)
    now[0] = 41
    queue.see_open(0)
    now[0] = 50
    assert (queue.is_waiting, queue.seconds) == (False, 11)


def test_a_step_that_is_run_again_counts_on(tmp_path: Path) -> None:
    now, file = [0.0], tmp_path / "queue.json"
    first = QueueTime(True, file, lambda: now[0])
    first.see_open(2)
    now[0] = 10  # killed while it waits, and run again 20 s later
    now[0] = 30
    second = QueueTime(True, file, lambda: now[0])
    assert (second.is_waiting, second.seconds) == (False, 30)
    second.see_open(2)
    now[0] = 35
    pod: Object = {"metadata": {"uid": "1"}, "status": {"phase": "Running"}}
    second.see_pod(pod, False)
    now[0] = 100  # killed while a trial is at work: nothing is added
    assert QueueTime(True, file, lambda: now[0]).seconds == 35
    file.write_text("{")
    assert QueueTime(True, file, lambda: now[0]).seconds == 0


def test_a_search_without_a_queue_waits_for_nobody(tmp_path: Path) -> None:
    file = tmp_path / "queue.json"
    queue = QueueTime(False, file)
    queue.see_open(2)
    assert (queue.is_waiting, queue.seconds, file.exists()) == (False, 0.0, False)
