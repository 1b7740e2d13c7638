"""The launcher: it ends with whoever started it, however early, and imports nothing of the working directory's."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from hyperflow import datasets, volume
from hyperflow.datasets.idx import Bytes
from hyperflow.engines.local import processes, warm
from hyperflow.errors import Unavailable
from tests.engines.local.machine import SMALL

STARTER = """
import sys
from hyperflow.engines.local import processes
with processes.launcher():
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short path, as sockets have to have one."""
    with tempfile.TemporaryDirectory(prefix="hf", dir="/tmp") as name:
        yield Path(name)


def starter(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(folder)}
    environment.pop(processes.LAUNCHER, None)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", STARTER], cwd=folder, env=environment, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def launchers(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "hyperflow.engines.local.warm" in words and any(str(folder) in word for word in words):
            found.append(process)
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process of its parent's end")
@pytest.mark.parametrize("delay", [step * 0.02 for step in range(14)])
def test_starter_killed_at_once_leaves_no_launcher(place: Path, delay: float) -> None:
    process = starter(place)
    deadline = time.monotonic() + 60
    while not launchers(place):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (process.stdout.read() if process.stdout else "") in ("", "up\n")
    deadline = time.monotonic() + 30
    while launchers(place):
        assert time.monotonic() < deadline, "the launcher stays"
        time.sleep(0.05)


def test_modules_of_the_working_directory_are_not_ours(place: Path) -> None:
    for name in ("json", "numpy"):
        (place / f"{name}.py").write_text("raise SystemExit('imported from the working directory')\n")
    process = starter(place)
    output, _ = process.communicate("", timeout=60)
    assert output == "up\n"
    assert process.returncode == 0


def test_launcher_that_was_killed_is_said_with_what_may_have_killed_it(place: Path) -> None:
    address = place / "launcher"
    (place / "log").touch()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(processes.LAUNCHER, str(address))
        address.touch()
        with pytest.raises(Unavailable, match="launcher that trainers and servers are forked from has ended") as ended:
            processes.start(["python", "-m", "hyperflow.fashion.train"], dict(os.environ), 1)
    assert "killed" in ended.value.why
    assert "parallel_trials" in ended.value.remedy
    assert "refused" not in str(ended.value)


def test_what_trials_learn_from_is_unpacked_before_they_are_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    importlib.import_module("hyperflow.fashion.train")  # as the launcher has
    path = datasets.load(str(SMALL), "small").path
    for argv in ([f"--data-path={path}/none"], ["--epochs=none"]):
        warm._prepare({"module": "hyperflow.fashion.train", "argv": argv, "bare": False})  # the trial will say why
    assert not np.shares_memory(*images_of(path))
    warm._prepare({"module": "hyperflow.fashion.train", "argv": [f"--data-path={path}"], "bare": False})
    assert np.shares_memory(*images_of(path))


def images_of(path: str) -> list[Bytes]:
    return [datasets.open_dataset(path).images("train") for _ in range(2)]
