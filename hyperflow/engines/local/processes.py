"""Start programs on this machine, read what they print, and be sure that they end."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from hyperflow.engines.local import guard, scratch, warm
from hyperflow.errors import Unavailable
from hyperflow.volume import writable

LAUNCHER = "HYPERFLOW_LAUNCHER"
"""Environment variable with the socket of a running warm launcher."""

SAFE_PATH, OURS = "PYTHONSAFEPATH", "hyperflow"
"""Environment variable that keeps a Python from importing what lies in the working directory, and the value that says
that Hyperflow has set it: for its own processes, to which a json.py of the user's is none of theirs."""

Lifetime = Literal["caller", "run", "free"]

_PATIENCE = 5.0  # seconds between a polite and an impolite end


class Process(Protocol):
    """A started program."""

    pid: int

    def wait(self) -> int:
        """Wait for the end; return the exit code, or 128 and the signal's number."""


class Job:
    """A running program whose output goes line by line to its reader and to a log file.

    Args:
        argv: Program and arguments.
        env: Its whole environment.
        log: File that its output is added to.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        with writable(log.parent):
            log.parent.mkdir(parents=True, exist_ok=True)
            self._file = log.open("ab")
        reading, writing = os.pipe()
        try:
            self._process = start(argv, env, writing)
        finally:
            os.close(writing)
        self._output = os.fdopen(reading, "rb")
        self.pid = self._process.pid
        self._impatience: threading.Timer | None = None
        self._looked, self._memory = -math.inf, 0

    def lines(self) -> Iterator[str]:
        """Yield each line as it is printed, until the program has closed its output."""
        with self._output, self._file:
            for line in self._output:
                with writable(self.log.parent):
                    self._file.write(line)
                    self._file.flush()
                yield line.decode("utf-8", "replace").rstrip("\n")

    def wait(self) -> int:
        """Wait for the end; return the exit code, or 128 and the signal's number."""
        code = self._process.wait()
        if self._impatience:
            self._impatience.cancel()
        return code

    def memory(self) -> int:
        """Return the memory that the program and all it started hold, in bytes, as it was within the last second."""
        if time.monotonic() > self._looked + 1:
            self._looked, self._memory = time.monotonic(), _resident(self.pid)
        return self._memory

    def stop(self) -> None:
        """Tell the program and all it started to end, and kill what has not ended after some seconds."""
        if self._impatience is None:
            self._impatience = threading.Timer(_PATIENCE, signal_group, (self.pid, signal.SIGKILL))
            self._impatience.daemon = True
            self._impatience.start()
            signal_group(self.pid, signal.SIGTERM)

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        return tail(self.log, lines)


def start(
    argv: Sequence[str], env: Mapping[str, str], output: int, lifetime: Lifetime = "caller", bare: bool = False
) -> Process:
    """Start a program in a process group of its own, warm where it is one of ours.

    Args:
        argv: Program and arguments.
        env: Its whole environment.
        output: Descriptor for its standard output and error.
        lifetime: Whose end is its end too: this process's, the run's, or nobody's.
        bare: Whether it needs nothing of what the warm launcher has imported, and should not carry it.

    Raises:
        Unavailable: There is no such program.
    """
    module = _own_module(argv)
    launcher = os.environ.get(LAUNCHER)
    if module and launcher and Path(launcher).exists():
        return _Forked(launcher, module, argv[3:], env, output, lifetime, bare)
    command = [sys.executable, "-P", *argv[1:]] if module else list(argv)
    env = env if module else as_the_user_has_it(env)
    if lifetime != "free":
        command = guarded(command)
    if shutil.which(argv[0], path=env.get("PATH")) is None and not module:
        raise Unavailable(f"the program {argv[0]!r} was not found", remedy="correct trainer_command, or install it")
    return _Spawned(command, env, output)


def as_the_user_has_it(env: Mapping[str, str]) -> dict[str, str]:
    """Let a program that is not ours import from the working directory, unless the user forbids it."""
    return {name: value for name, value in env.items() if (name, value) != (SAFE_PATH, OURS)}


def guarded(command: Sequence[str]) -> list[str]:
    """Have a program end with this process, however that ends."""
    return [sys.executable, "-S", guard.__file__, str(os.getpid()), *command]


def _own_module(argv: Sequence[str]) -> str:
    """Name the module of `python -m <module>` where it is one of Hyperflow's own programs."""
    ours = len(argv) >= 3 and argv[0] in ("python", "python3", sys.executable) and argv[1] == "-m"
    return argv[2] if ours and argv[2] in warm.PROGRAMS else ""


class _Spawned:
    def __init__(self, argv: Sequence[str], env: Mapping[str, str], output: int) -> None:
        self._process = subprocess.Popen(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        self.pid = self._process.pid

    def wait(self) -> int:
        code = self._process.wait()
        return code if code >= 0 else 128 - code


class _Forked:
    def __init__(
        self, launcher: str, module: str, argv: Sequence[str], env: Mapping[str, str], output: int, lifetime: Lifetime,
        bare: bool,
    ) -> None:  # fmt: skip
        request = {"module": module, "argv": list(argv), "env": dict(env), "lifetime": lifetime, "bare": bare}
        self._launcher, self._connection = launcher, socket.socket(socket.AF_UNIX)
        try:
            self._connection.connect(launcher)
            socket.send_fds(self._connection, [json.dumps(request).encode() + b"\n"], [output])
        except OSError as error:
            raise _launcher_ended(launcher) from error
        self._answers = self._connection.makefile("r")
        self.pid = self._read()["pid"]
        if lifetime != "caller":
            self._close()

    def wait(self) -> int:
        code = self._read()["exit"]
        self._close()
        return code

    def _close(self) -> None:
        self._answers.close()
        self._connection.close()

    def _read(self) -> dict[str, int]:
        line = self._answers.readline()
        if not line:
            raise _launcher_ended(self._launcher)
        answer: dict[str, int] = json.loads(line)
        return answer


def _resident(pid: int) -> int:
    """Return the resident memory of a process and all below it, in bytes; of those that have ended nothing."""
    import psutil  # imported late: on a cluster nothing is started here

    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total


def _launcher_ended(address: str) -> Unavailable:
    """Word the end of the process that all others are forked from; nothing but a kill ends it before its run."""
    said = tail(Path(address).with_name("log"))
    why = f"its log ends with\n{said}" if said else "it was killed, by the system for want of memory or by a user"
    remedy = "see that there is enough memory, with fewer parallel_trials or workers, and go on with the same run id"
    return Unavailable("the launcher that trainers and servers are forked from has ended", why, remedy)


@contextlib.contextmanager
def launcher() -> Iterator[None]:
    """Have a warm launcher while the block runs, and its socket in the environment of all that starts there."""
    if os.environ.get(LAUNCHER):
        yield
        return
    folder = scratch.make()
    address = folder / "launcher"
    env = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hyperflow.engines.local.warm", str(address), str(os.getpid())],
            env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _until_listening(process, address, folder / "log")
        os.environ[LAUNCHER] = str(address)
        yield
    finally:
        os.environ.pop(LAUNCHER, None)
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _until_listening(process: subprocess.Popen[bytes], address: Path, log: Path) -> None:
    while not address.exists():
        if process.poll() is not None:
            raise Unavailable("the launcher of the trainers did not start", tail(log), "see the cause above")
        time.sleep(0.01)


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process group, which may have ended already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log file, or nothing where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64 * 1024))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def free_port() -> int:
    """Return a port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
