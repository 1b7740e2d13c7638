"""A job that waits in Kueue's queue: its time begins when it may start."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.errors import HyperflowError, JobTimeout
from hyperflow.specs import Compute
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.operators import TFJOBS
from tests.kubeflow.specs import training
from tests.kubeflow.store import Object, Refusal
from tests.kubeflow.world import NAMESPACE

SECONDS = 1


class Waiting(threading.Thread):
    """A training that is waited for."""

    def __init__(self, engine: KubeflowEngine) -> None:
        super().__init__(daemon=True)
        self.error: HyperflowError | None = None
        self._engine, self._spec = engine, training(timeout=SECONDS, compute=Compute(queue="team"))
        self.name = self._spec.name

    def run(self) -> None:
        try:
            self._engine.train(self._spec)
        except HyperflowError as error:
            self.error = error


def suspend(emulator: Emulator, name: str, held: bool) -> None:
    """Do what Kueue and then the operator do: hold a job, or let it go and note the time."""
    item = job(emulator, name)
    policy = {**item["spec"]["runPolicy"], "suspend": held}
    emulator.store.replace(TFJOBS, NAMESPACE, {**item, "spec": {**item["spec"], "runPolicy": policy}})
    conditions = [{"type": "Suspended", "status": str(held)}]
    started = {} if held else {"startTime": datetime.now(UTC).isoformat()}
    emulator.store.set_status(TFJOBS, NAMESPACE, name, conditions=conditions, **started)


def job(emulator: Emulator, name: str) -> Object:
    deadline = time.monotonic() + 20
    while True:
        try:
            return emulator.store.get(TFJOBS, NAMESPACE, name)
        except Refusal:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_time_in_the_queue_counts_against_no_timeout(emulator: Emulator, engine: KubeflowEngine) -> None:
    waiting = Waiting(engine)
    waiting.start()
    suspend(emulator, waiting.name, True)
    waiting.join(3 * SECONDS)
    assert waiting.is_alive()
    suspend(emulator, waiting.name, False)
    emulator.store.set_status(
        TFJOBS, NAMESPACE, waiting.name, conditions=[{"type": "Failed", "status": "True", "message": "seen"}]
    )
    waiting.join(20)
    assert waiting.error is not None
    assert "seen" in waiting.error.what
    assert not isinstance(waiting.error, JobTimeout)


def test_time_after_the_queue_counts(emulator: Emulator, engine: KubeflowEngine) -> None:
    waiting = Waiting(engine)
    waiting.start()
    suspend(emulator, waiting.name, True)
    waiting.join(2 * SECONDS)
    suspend(emulator, waiting.name, False)
    waiting.join(20)
    assert isinstance(waiting.error, JobTimeout)


@pytest.mark.parametrize("queue", ["", "team"])
def test_a_job_that_nobody_holds_has_its_time_from_the_start(
    emulator: Emulator, engine: KubeflowEngine, queue: str
) -> None:
    with pytest.raises(JobTimeout):
        engine.train(training(timeout=SECONDS, compute=Compute(queue=queue)))
