"""The lease: one run at a time changes a service, and nobody waits for the dead."""

from __future__ import annotations

import fcntl
import multiprocessing
import time
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.errors import Conflict
from hyperflow.volume import lease


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    return tmp_path


def test_holder_may_hold_on_and_others_are_told() -> None:
    lease.hold("m", "one", 60)
    lease.hold("m", "one", 60)
    with pytest.raises(Conflict, match="run one is deploying m"):
        lease.hold("m", "two", 60)
    lease.hold("another", "two", 60)
    lease.release("m", "two")
    with pytest.raises(Conflict):
        lease.hold("m", "two", 60)
    lease.release("m", "one")
    lease.hold("m", "two", 60)


def test_lease_ends_with_its_time() -> None:
    lease.hold("m", "one", 0.2)
    lease.hold("m", "two", 60, patience=5)


def test_lease_ends_with_its_run_on_this_machine() -> None:
    volume.run_path("one").mkdir(parents=True)
    with (volume.run_path("one") / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lease.hold("m", "one", 3600)
        with pytest.raises(Conflict):
            lease.hold("m", "two", 60)
    lease.hold("m", "two", 60)


def test_damaged_lease_is_none(root: Path) -> None:
    lease.hold("m", "one", 3600)
    (root / "models" / "m" / ".lease").write_text("")
    lease.hold("m", "two", 60)


def turn(run_id: str, log: str) -> None:
    lease.hold("m", run_id, 60, patience=30)
    with open(log, "a") as file:
        file.write(f"{run_id} ")
    time.sleep(0.05)
    with open(log, "a") as file:
        file.write(f"{run_id}\n")
    lease.release("m", run_id)


def test_many_runs_take_turns(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    log = tmp_path / "log"
    processes = [context.Process(target=turn, args=(f"run-{number}", str(log))) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert all(first == second for first, second in lines)
    assert {first for first, _ in lines} == {f"run-{number}" for number in range(6)}
