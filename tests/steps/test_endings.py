"""What steps write down on an MLflow server when they end: real processes, real HTTP, the server's faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.steps import endings
from hyperflow.volume import notices, paths, records
from hyperflow.volume.records import Asked
from tests.runner.laptop import wait_for
from tests.tracking import volumes
from tests.tracking.mlflow import Held, Mlflow, basic, serving
from tests.tracking.volumes import RUN

PROGRAM = """
import sys, time
from hyperflow.errors import DataError
from hyperflow.steps import begin
from hyperflow.volume import records
stage, what, uri = sys.argv[1:4]
with begin(stage, "20260301-120000-ab12") as step:
    if what == "fail":
        raise DataError("the data set is damaged")
    if what == "break":
        raise RuntimeError("a defect")
    if what == "wait":
        print("waits", flush=True)
        time.sleep(60)
    if what == "check":
        records.write(step.run_id, records.Asked(values={"tracking_uri": uri}, started=time.time()))
        step.keep(records.Check(model_name="fashion"))
print([name for name in sys.modules if name.startswith(("hyperflow.tracking", "mlflow"))])
"""


@pytest.fixture
def mlflow() -> Iterator[Mlflow]:
    with serving(Mlflow()) as server:
        yield server


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))


def start(what: str, uri: str, stage: str = "train", **environment: str) -> subprocess.Popen[str]:
    if stage != "check":
        asked = records.read(RUN, Asked)
        assert asked
        records.write(RUN, replace(asked, values={**volumes.VALUES, "tracking_uri": uri}))
    command = [sys.executable, "-c", PROGRAM, stage, what, uri]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def step(what: str, uri: str, stage: str = "train", **environment: str) -> tuple[int, str, str]:
    process = start(what, uri, stage, **environment)
    said, told = process.communicate(timeout=60)
    return process.returncode, said, told


def as_on_a_cluster(until: str) -> None:
    """Leave what the steps up to one have left; there is no compiled pipeline and no report there."""
    volumes.write(until=until, report=False)
    asked = records.read(RUN, Asked)
    assert asked
    records.write(RUN, replace(asked, pipeline=""))


def due() -> None:
    """Have it be long since the last ending, without waiting."""
    paths.ending(RUN, "tracking_uri").unlink()


def held(mlflow: Mlflow) -> Held:
    (found,) = mlflow.of("hyperflow.run_id", RUN)
    return found


def state(mlflow: Mlflow) -> str:
    return str(held(mlflow).info["status"])


def test_each_step_writes_what_is_new_and_retries_write_nothing_twice(mlflow: Mlflow) -> None:
    assert step("check", mlflow.url, "check")[0] == 0
    assert state(mlflow) == "RUNNING"
    as_on_a_cluster("tune")
    due()
    assert step("pass", mlflow.url, "tune")[0] == 0
    assert (state(mlflow), len(mlflow.of("hyperflow.trial"))) == ("RUNNING", len(volumes.TRIALS))
    code, _, told = step("fail", mlflow.url)
    assert (code, told.count("error: ")) == (1, 1)
    assert state(mlflow) == "FAILED"
    as_on_a_cluster("train")
    due()
    assert step("pass", mlflow.url)[0] == 0
    assert state(mlflow) == "RUNNING"
    as_on_a_cluster("predict")
    for _ in range(2):
        code, _, told = step("pass", mlflow.url, "predict")
        assert (code, told) == (0, "")
    assert state(mlflow) == "FINISHED"
    assert len(mlflow.of("hyperflow.trial")) == len(volumes.TRIALS)
    assert held(mlflow).latest()["test_accuracy"] == 0.8
    assert len([key for key, step, *_ in held(mlflow).values if (key, step) == ("loss", 3)]) == 1


def test_step_that_is_at_fault_itself_leaves_the_run_failed(mlflow: Mlflow) -> None:
    as_on_a_cluster("tune")
    code, _, told = step("break", mlflow.url)
    assert code == 1
    assert "RuntimeError: a defect" in told
    assert state(mlflow) == "FAILED"


def test_step_that_is_told_to_stop_leaves_the_run_killed(mlflow: Mlflow) -> None:
    as_on_a_cluster("tune")
    process = start("wait", mlflow.url)
    assert process.stdout
    assert process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert state(mlflow) == "KILLED"


def _down(mlflow: Mlflow) -> None:
    mlflow.url = "http://127.0.0.1:9"


def _slow(mlflow: Mlflow) -> None:
    mlflow.seconds = endings.SECONDS + 2


def _trickling(mlflow: Mlflow) -> None:
    mlflow.seconds = 4


def _locked(mlflow: Mlflow) -> None:
    mlflow.authorization = basic("ann", "s3cret")


def _broken(mlflow: Mlflow) -> None:
    mlflow.failing = "runs/create"


def _none_of_it(mlflow: Mlflow) -> None:
    mlflow.instead, mlflow.experiments = "<html>Sign in</html>", {volumes.MODEL: "1"}


@pytest.mark.parametrize(
    ("fault", "said", "seconds"),
    [
        (_down, "Connection refused", 3), (_slow, "timed out", endings.SECONDS + 3),
        (_trickling, "too slow|timed out", endings.TOTAL + 3), (_locked, "answers 401", 3),
        (_broken, "the database is locked", 3), (_none_of_it, "does not answer as an MLflow server does", 3),
    ],
)  # fmt: skip
def test_fault_is_a_warning_of_a_step_that_ends_well(
    fault: Callable[[Mlflow], None], said: str, seconds: float, mlflow: Mlflow, tmp_path: Path
) -> None:
    right, mlflow.authorization = mlflow.url, "Bearer t0ken"
    as_on_a_cluster("predict")
    began = time.monotonic()
    assert step("pass", "")[0] == 0
    without = time.monotonic() - began
    fault(mlflow)
    began = time.monotonic()
    code, _, told = step("pass", mlflow.url, MLFLOW_TRACKING_TOKEN="t0ken")
    assert code == 0
    assert time.monotonic() - began < without + seconds
    assert told.startswith(f"warning: run {RUN} is not written down on the MLflow server: ")
    assert any(each in told for each in said.split("|")), told
    assert f"hyperflow sync {RUN} --tracking-uri {mlflow.url} --folder {tmp_path}" in told
    assert "t0ken" not in told
    assert notices.all_of(RUN) == [told.removeprefix("warning: ").rstrip()]
    mlflow.seconds, mlflow.authorization, mlflow.failing, mlflow.instead = 0, "Bearer t0ken", "", ""
    wait_for(lambda: not mlflow.answering)  # what was given up is carried out before the next step asks
    assert step("pass", right, MLFLOW_TRACKING_TOKEN="t0ken")[0] == 0
    assert state(mlflow) == "FINISHED"
    assert notices.all_of(RUN) == []


def test_volume_that_takes_no_notice_changes_nothing(mlflow: Mlflow) -> None:
    """As when its disk is full: a step that has nothing to write there does not need to."""
    as_on_a_cluster("predict")
    for name in ("notices", "endings"):
        (paths.run_path(RUN) / name).write_text("in the way")
    mlflow.failing = "log-batch"
    code, _, told = step("pass", mlflow.url)
    assert code == 0
    assert "the database is locked" in told
    assert "Traceback" not in told


def test_step_that_would_take_too_much_of_the_runs_time_leaves_it_to_the_next(mlflow: Mlflow) -> None:
    as_on_a_cluster("tune")
    volume.write_text(paths.ending(RUN, "tracking_uri"), "1.5")
    assert step("pass", mlflow.url)[0] == 0
    assert not mlflow.asked
    enough = time.time() - 1.5 / endings.SHARE - 1
    os.utime(paths.ending(RUN, "tracking_uri"), (enough, enough))
    assert step("pass", mlflow.url)[0] == 0
    assert state(mlflow) == "RUNNING"
    volume.write_text(paths.ending(RUN, "tracking_uri"), "1.5")
    assert step("fail", mlflow.url)[0] == 1
    assert state(mlflow) == "FAILED", "it may be the last one"
    as_on_a_cluster("predict")
    volume.write_text(paths.ending(RUN, "tracking_uri"), "1.5")
    assert step("pass", mlflow.url)[0] == 0
    assert state(mlflow) == "FINISHED", "it is the last one"


def test_run_that_was_refused_is_not_written_down(mlflow: Mlflow) -> None:
    code, _, told = step("fail", mlflow.url, "check")
    assert code == 1
    assert "warning" not in told
    assert not mlflow.asked


def test_off_nothing_is_imported_and_nothing_is_asked(mlflow: Mlflow) -> None:
    as_on_a_cluster("predict")
    code, said, told = step("pass", "", MLFLOW_TRACKING_URI=mlflow.url)
    assert (code, said, told) == (0, "[]\n", "")
    assert not mlflow.asked
    assert not paths.ending(RUN, "tracking_uri").parent.exists()
    assert records.read(RUN, records.Predict)
