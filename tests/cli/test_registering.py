"""`hyperflow sync --model-registry`, and steps whose registry does not do: a warning that says what mends it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.steps import endings
from hyperflow.tracking.registry import Registry
from hyperflow.volume import notices, records
from hyperflow.volume.records import Asked
from tests.cli.test_tracking import call
from tests.tracking import life
from tests.tracking.mlflow import serving
from tests.tracking.registry import ModelRegistry

RUN = "one"


@pytest.fixture
def server() -> Iterator[ModelRegistry]:
    with serving(ModelRegistry()) as made:
        yield made


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    life.promoted(RUN, life.deployed(RUN))
    return tmp_path


def _down(server: ModelRegistry) -> None:
    server.url = "http://127.0.0.1:9"


def _slow(server: ModelRegistry) -> None:
    server.seconds = 30


def _locked(server: ModelRegistry) -> None:
    server.authorization = "Bearer t0ken"


def _broken(server: ModelRegistry) -> None:
    server.failing = "versions"


def _taken(server: ModelRegistry) -> None:
    life.versions.sync(RUN, Registry(server.url))
    (artifact,) = server.held["artifacts"].values()
    artifact["uri"] = "file:///another"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (_down, "Connection refused"),
        (_slow, "timed out"),
        (_locked, "set MODEL_REGISTRY_TOKEN"),
        (_broken, "the database is gone"),
        (_taken, f"version {RUN} of fashion"),
    ],
)
def test_fault_is_a_warning_that_names_the_command_which_mends_it(
    fault: Callable[[ModelRegistry], None], said: str, server: ModelRegistry, folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(endings, "SECONDS", 0.5)
    right, warnings = server.url, list[str]()
    fault(server)
    records.write(RUN, Asked(values={"model_registry": server.url}))
    with endings.after(RUN, warnings.append):
        done = True
    assert done
    (warning,) = warnings
    assert said in warning
    assert f"hyperflow sync {RUN} --model-registry {server.url} --folder {folder}" in warning
    assert notices.all_of(RUN) == warnings
    server.url, server.seconds, server.authorization, server.failing = right, 0, "", ""
    server.held["artifacts"].clear()
    code, output = call("sync", RUN, "--model-registry", right)
    assert code == 0, output
    assert f"version {RUN} in {right}: serving" in output
    assert not notices.all_of(RUN)
    life.assert_version(Registry(right), RUN, "serving")


def test_sync_without_a_server_or_a_run(server: ModelRegistry) -> None:
    code, output = call("sync", RUN)
    assert code == 2
    assert "--model-registry" in output
    code, output = call("sync", "gone", "--model-registry", server.url)
    assert code == 0
    assert "has deployed no model" in output
    assert not server.asked


def test_off_nothing_is_imported() -> None:
    program = (
        "import sys; from hyperflow.steps import deploy, predict, endings\n"
        f"with endings.after({RUN!r}, print): pass\n"
        "print([name for name in sys.modules if name.startswith('hyperflow.tracking')])"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, text=True, capture_output=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
