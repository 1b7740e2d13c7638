"""Programs on this machine: their lines, their end, and their end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hyperflow.engines.local import guard, processes
from hyperflow.errors import Unavailable


@pytest.fixture(autouse=True)
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(processes.LAUNCHER, raising=False)


def job(folder: Path, code: str) -> processes.Job:
    return processes.Job([sys.executable, "-uc", code], dict(os.environ), folder / "logs" / "job.txt")


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_lines_come_as_they_are_printed_and_stay_in_the_log(tmp_path: Path) -> None:
    running = job(tmp_path, "import sys; print('one'); sys.stderr.buffer.write(b'tw\\xffo\\nthree'); sys.exit(7)")
    assert list(running.lines()) == ["one", "tw\ufffdo", "three"]
    assert running.wait() == 7
    assert running.log.read_bytes() == b"one\ntw\xffo\nthree"
    assert running.tail(1) == "three"


def test_signal_is_an_exit_code_as_in_a_shell(tmp_path: Path) -> None:
    running = job(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert list(running.lines()) == []
    assert running.wait() == 128 + 9


def test_what_does_not_end_when_told_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PATIENCE", 0.2)
    stubborn = "import signal, subprocess, sys; signal.signal(15, signal.SIG_IGN); "
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    running = job(tmp_path, f"{stubborn}subprocess.run([sys.executable, '-c', {child!r}])")
    lines = running.lines()
    assert next(lines) == "up"
    (grandchild,) = psutil.Process(running.pid).children()
    running.stop()
    assert list(lines) == []
    assert running.wait() == 128 + signal.SIGKILL
    until(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)


def test_own_trainer_imports_from_the_working_directory_though_our_processes_do_not(tmp_path: Path) -> None:
    show = "import os; print(os.environ.get('PYTHONSAFEPATH'))"
    for value, seen in ((processes.OURS, "None"), ("1", "1")):
        environment = {**os.environ, processes.SAFE_PATH: value}
        running = processes.Job([sys.executable, "-uc", show], environment, tmp_path / "log")
        assert list(running.lines()) == [seen]
        running.wait()


def test_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="'no-such-program' was not found"):
        processes.Job(["no-such-program"], dict(os.environ), tmp_path / "log")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process of its parent's end")
def test_program_ends_with_its_parent_however_that_ends() -> None:
    command = [sys.executable, "-S", guard.__file__]
    code = "import os, subprocess, sys; command = sys.argv[1:] + [str(os.getpid()), 'sleep', '600']; "
    code += "child = subprocess.Popen(command); print(child.pid, flush=True); child.wait()"
    parent = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    until(lambda: child.name() == "sleep")
    parent.kill()
    parent.communicate()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_program_whose_parent_has_gone_already_does_not_start() -> None:
    words = [sys.executable, "-S", guard.__file__, "1", "echo", "started"]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGKILL, b"")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only on Linux a process can be named so")
def test_forked_program_is_called_what_it_does() -> None:
    code = "from hyperflow.engines.local.guard import name_process; name_process('python -m one --two'); "
    code += "print(open('/proc/self/comm').read(), open('/proc/self/cmdline').read().rstrip(chr(0)), sep='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "hyperflow\npython -m one --two\n"


def test_tail_of_no_log_is_nothing_and_of_a_long_one_its_end(tmp_path: Path) -> None:
    assert processes.tail(tmp_path / "none") == ""
    (tmp_path / "log").write_text("".join(f"{number}\n" for number in range(100_000)))
    assert processes.tail(tmp_path / "log", 2) == "99998\n99999"
