"""Whether a run is still at work, told from what it left."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.volume import paths, runs

RUN = "nightly"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    paths.run_path(RUN).mkdir(parents=True)
    return tmp_path


def lock() -> None:
    paths.run_lock(RUN).touch()


def silent_for(seconds: float) -> None:
    for path in (*paths.run_path(RUN).rglob("*"), paths.run_path(RUN)):
        os.utime(path, (time.time() - seconds,) * 2)


def ended(stage: str, record: object) -> None:
    volume.write_text(paths.step_records(RUN) / f"{stage}.json", json.dumps(record))


def test_process_that_holds_its_lock_is_at_work_however_silent() -> None:
    lock()
    with paths.run_lock(RUN).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        silent_for(1e6)
        assert runs.may_run(RUN, 60)
        assert not runs.process_ended(RUN)


def test_process_that_has_gone_is_not_at_work_however_fresh_its_files() -> None:
    lock()
    assert not runs.may_run(RUN, 60)
    assert runs.process_ended(RUN)


@pytest.mark.parametrize(("silence", "at_work"), [(30, True), (90, False)])
def test_run_on_a_cluster_is_told_by_its_last_sign(silence: float, at_work: bool) -> None:
    ended("tune", {})
    silent_for(silence)
    assert runs.may_run(RUN, 60) is at_work
    assert not runs.process_ended(RUN)


def test_newest_file_of_a_step_is_a_sign() -> None:
    ended("tune", {})
    silent_for(90)
    (paths.tuning(RUN) / "trial-1").mkdir(parents=True)
    assert runs.may_run(RUN, 60)


def test_run_that_is_not_there_is_not_at_work() -> None:
    assert not runs.may_run("never-was", 60)
