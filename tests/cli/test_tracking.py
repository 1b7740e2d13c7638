"""`hyperflow sync` and `hyperflow run --tracking-uri`: a server that does not do costs a warning, never the run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.cli import tracking
from hyperflow.errors import Cancelled, JobFailed
from hyperflow.runner import Request
from hyperflow.steps import endings
from hyperflow.volume import notices
from tests.tracking import volumes
from tests.tracking.mlflow import Mlflow, basic, serving
from tests.tracking.volumes import RUN


@pytest.fixture
def mlflow() -> Iterator[Mlflow]:
    with serving(Mlflow()) as server:
        yield server


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    volumes.write()
    return tmp_path


def call(*words: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "hyperflow", *words]
    done = subprocess.run(
        command, env={**os.environ, "COLUMNS": "300", **environment}, text=True, capture_output=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def state(mlflow: Mlflow) -> str:
    (held,) = mlflow.of("hyperflow.run_id", RUN)
    return str(held.info["status"])


def wanted(run_id: str, mlflow: Mlflow) -> Request:
    return Request(Path("train_and_serve.yaml"), {"tracking_uri": mlflow.url}, run_id)


def _down(mlflow: Mlflow) -> None:
    mlflow.url = "http://127.0.0.1:9"


def _slow(mlflow: Mlflow) -> None:
    mlflow.seconds = 30


def _locked(mlflow: Mlflow) -> None:
    mlflow.authorization = basic("ann", "s3cret")


def _broken(mlflow: Mlflow) -> None:
    mlflow.failing = "log-batch"


@pytest.mark.parametrize(
    ("fault", "said"),
    [(_down, "Connection refused"), (_slow, "timed out"), (_locked, "401"), (_broken, "the database is locked")],
)
def test_fault_is_a_warning_that_names_the_command_which_mends_it(
    fault: Callable[[Mlflow], None], said: str, mlflow: Mlflow, folder: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(endings, "SECONDS", 0.5)
    right = mlflow.url
    fault(mlflow)
    with tracking.written_down(wanted(RUN, mlflow)):
        done = True
    assert done
    warning = capsys.readouterr().err
    assert warning.count("warning:") == 1
    assert said in warning
    assert f"hyperflow sync {RUN} --tracking-uri {mlflow.url} --folder {folder}" in warning
    mlflow.url, mlflow.seconds, mlflow.authorization, mlflow.failing = right, 0, "", ""
    assert notices.all_of(RUN)
    code, output = call("sync", RUN, "--tracking-uri", right)
    assert code == 0, output
    assert state(mlflow) == "FINISHED"
    assert notices.all_of(RUN) == []


def test_run_that_fails_is_written_down_and_fails_as_it_would(mlflow: Mlflow) -> None:
    volumes.write("failed", until="tune", report=False)
    volumes.lock(volume.run_path("failed"))
    with pytest.raises(JobFailed, match="the training"), tracking.written_down(wanted("failed", mlflow)):
        raise JobFailed("the training ended badly")
    (held,) = mlflow.of("hyperflow.run_id", "failed")
    assert held.info["status"] == "FAILED"
    volumes.write("stopped", until="tune", report=False)
    with pytest.raises(Cancelled), tracking.written_down(wanted("stopped", mlflow)):
        raise Cancelled("the run was stopped")
    (held,) = mlflow.of("hyperflow.run_id", "stopped")
    assert held.info["status"] == "KILLED"


def test_run_that_was_refused_is_not_written_down(mlflow: Mlflow) -> None:
    with pytest.raises(JobFailed), tracking.written_down(wanted("never", mlflow)):
        raise JobFailed("a parameter")
    assert not mlflow.asked


def test_sync_says_what_it_did_and_what_not(mlflow: Mlflow) -> None:
    mlflow.authorization = "Bearer t0ken"
    code, output = call("sync", RUN, "--tracking-uri", mlflow.url, MLFLOW_TRACKING_TOKEN="wr0ng")
    assert code == 1
    assert "answers 401" in output
    assert "cause:" in output
    assert "remedy: set MLFLOW_TRACKING_USERNAME" in output
    assert "wr0ng" not in output
    code, output = call("sync", RUN, "--tracking-uri", mlflow.url, MLFLOW_TRACKING_TOKEN="t0ken")
    assert code == 0, output
    (held,) = mlflow.of("hyperflow.run_id", RUN)
    assert f"run {RUN} is the MLflow run {held.info['run_id']}" in output
    assert call("sync", "gone", "--tracking-uri", mlflow.url)[0] == 1
    assert call("sync", RUN, "--tracking-uri", "file:/mlruns")[0] == 2


def test_address_is_judged_before_anything_is_run(folder: Path) -> None:
    code, output = call("run", "--run-id", "new", "--tracking-uri", "mlruns")
    assert code == 2
    assert "parameter 'tracking_uri' cannot be 'mlruns'" in output
    assert not volume.run_path("new").exists()


def test_run_that_has_ended_is_written_down_when_it_is_asked_for_again(mlflow: Mlflow) -> None:
    volumes.summarise(RUN)
    code, output = call("run", "--run-id", RUN, "--pipeline", "train_and_serve", "--tracking-uri", mlflow.url)
    assert code == 0, output
    assert state(mlflow) == "FINISHED"


def test_off_nothing_is_imported_and_nothing_is_asked(mlflow: Mlflow) -> None:
    volumes.summarise(RUN)
    program = (
        "import sys; from hyperflow.cli import app\n"
        f"app(['run', '--run-id', {RUN!r}, '--pipeline', 'train_and_serve'], standalone_mode=False)\n"
        "assert 'hyperflow.runner' in sys.modules\n"
        "print([name for name in sys.modules if name.startswith(('hyperflow.tracking', 'mlflow'))])"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.url}
    done = subprocess.run([sys.executable, "-c", program], env=environment, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("[]")
    assert not mlflow.asked
