"""A launcher that has imported TensorFlow once and forks it: `python -m hyperflow.engines.local.warm <socket> <pid>`.

Importing TensorFlow takes seconds, forking a process that has imported it takes milliseconds. One
launcher serves a whole run: every trial, every worker and the model server start from it.

One connection is one process. The client sends a JSON line (module, argv, env, lifetime, bare) together
with the descriptor that becomes standard output; the launcher answers {"pid": …} and, when the
process has ended, {"exit": …}. The lifetime says whose end is the process's too: the client's
(`caller`), the launcher's (`run`) or nobody's (`free`). A bare one is to have nothing of TensorFlow:
it becomes a new interpreter, and its end is still whose the lifetime says. The launcher itself ends with the process
that started it, whose pid is told by that one: the launcher's own parent may be another by the time it asks.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Mapping

from hyperflow.engines.local.guard import die_with_parent, name_process
from hyperflow.errors import HyperflowError

PROGRAMS = {"hyperflow.fashion.train": "hyperflow.fashion.train", "hyperflow.serving": "hyperflow.serving.server"}
"""What can be started warm: the name after `python -m`, and the module whose `main(argv)` runs it."""

_PRELOADED = "hyperflow.fashion.train"
_LONGEST_REQUEST = 1 << 20


class Launcher:
    """Accept requests, fork a process for each and tell the client how it ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, socket.socket] = {}

    def run(self) -> None:
        """Serve until killed."""
        wake, signalled = os.pipe()
        for end in (wake, signalled):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        self._selector.register(wake, selectors.EVENT_READ, self._collect)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        while True:
            for key, _ in self._selector.select():
                key.data(key.fileobj)

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        try:
            request, output = _receive(client)
        except (ValueError, OSError):
            client.close()
            return
        _prepare(request)
        pid = os.fork()
        if pid == 0:
            self._become(request, output)
        os.close(output)
        _send(client, {"pid": pid})
        if request["lifetime"] != "caller":
            client.close()
            return
        self._clients[pid] = client
        self._selector.register(client, selectors.EVENT_READ, lambda _: self._abandon(pid))

    def _become(self, request: Mapping[str, object], output: int) -> None:
        """Turn the forked child into the program asked for; never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            self._selector.close()
            self._listener.close()
            for client in self._clients.values():
                client.close()
            launcher = os.getppid()
            os.setsid()
            if request["lifetime"] != "free":
                die_with_parent(launcher)
            code = _run(request, output)
        except Exception:  # the program's own defect: its log must have the traceback, as if it had been started cold
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _collect(self, wake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            client = self._clients.pop(pid, None)
            if client is not None:
                self._selector.unregister(client)
                code = os.waitstatus_to_exitcode(status)
                _send(client, {"exit": code if code >= 0 else 128 - code})
                client.close()

    def _abandon(self, pid: int) -> None:
        """Kill the process of a client that has gone."""
        client = self._clients.pop(pid)
        self._selector.unregister(client)
        client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _prepare(request: Mapping[str, object]) -> None:
    """Read here what every trial would read for itself; what fails will fail in the process too, and is said there."""
    if request["module"] == _PRELOADED and not request["bare"]:
        with contextlib.suppress(HyperflowError):
            sys.modules[_PRELOADED].prepare(request["argv"])


def _run(request: Mapping[str, object], output: int) -> int:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    argv: list[str] = request["argv"]  # type: ignore[assignment]
    if request["bare"]:
        os.execv(sys.executable, [sys.executable, "-P", "-m", str(request["module"]), *argv])
    name_process(" ".join(["python -m", str(request["module"]), *argv]))
    module = importlib.import_module(PROGRAMS[str(request["module"])])
    sys.argv = [str(request["module"]), *argv]
    try:
        return int(module.main(argv))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _receive(client: socket.socket) -> tuple[dict[str, object], int]:
    client.settimeout(10)
    data, descriptors, _, _ = socket.recv_fds(client, _LONGEST_REQUEST, 1)
    while not data.endswith(b"\n"):
        more = client.recv(_LONGEST_REQUEST)
        if not more or len(data) > _LONGEST_REQUEST:
            raise ValueError("the request was cut short")
        data += more
    client.settimeout(None)
    return json.loads(data), descriptors[0]


def _send(client: socket.socket, message: Mapping[str, int]) -> None:
    with contextlib.suppress(OSError):
        client.sendall(json.dumps(message).encode() + b"\n")


def main() -> None:
    """Listen, then import: a client may connect at once and waits only as long as it must."""
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the run's to handle
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(128)
    importlib.import_module(_PRELOADED)
    Launcher(listener).run()


if __name__ == "__main__":
    main()
