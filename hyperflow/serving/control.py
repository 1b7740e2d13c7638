"""Hands the public listening socket from one server to the next, so that no connection is lost between them.

The next server *takes* the very socket that the present one *gives*; both accept on it until the
present one is told to end. One line of JSON each way over a unix socket that only its owner can
open; the listening socket travels beside it (SCM_RIGHTS).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hyperflow.errors import Unavailable

_LINE = 64 * 1024
_SECONDS = 10.0


def status(path: Path) -> dict[str, Any]:
    """Ask a server what it serves: model, folder, ports, requests answered.

    Raises:
        Unavailable: No server answers there.
    """
    answer, _ = _ask(path, {"do": "status"})
    return dict(answer)


def give(path: Path) -> socket.socket | None:
    """Get a server's public listening socket, or None where it has none.

    Raises:
        Unavailable: No server answers there.
    """
    _, descriptors = _ask(path, {"do": "give"})
    return socket.socket(fileno=descriptors[0]) if descriptors else None


def take(path: Path, listener: socket.socket) -> None:
    """Have a server accept on a listening socket, and return once it does; the caller's copy stays open.

    Raises:
        Unavailable: No server answers there, or it cannot.
    """
    answer, _ = _ask(path, {"do": "take"}, [listener.fileno()])
    if not answer.get("ok"):
        raise Unavailable(f"the server at {path} did not take over the port", str(answer.get("error", "")))


def _ask(path: Path, request: Mapping[str, object], descriptors: list[int] | None = None) -> tuple[Any, list[int]]:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(str(path))
            _send(connection, request, descriptors or [])
            return _receive(connection)
    except (OSError, ValueError) as error:
        raise Unavailable(f"the server at {path} does not answer", str(error), "see whether it still runs") from error


Handler = Callable[[list[int]], tuple[Mapping[str, object], list[int]]]
"""Gets the descriptors that came, returns the answer and the descriptors to send."""


class ControlServer:
    """The serving end: one thread that answers one connection after the other.

    Args:
        path: Where the unix socket is made; an older one is replaced.
        handlers: By the request's verb.

    Raises:
        Unavailable: The socket cannot be made there.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path, self._handlers = path, handlers
        self._socket = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            path.unlink(missing_ok=True)
            self._socket.bind(str(path))
        except OSError as error:
            remedy = "give a short path in a folder that can be written"
            raise Unavailable(f"the control socket {path} cannot be made", str(error), remedy) from error
        finally:
            os.umask(before)
        self._socket.listen(8)
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def close(self) -> None:
        """Answer no more, and remove the socket."""
        self._path.unlink(missing_ok=True)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, ValueError):
                connection.settimeout(_SECONDS)
                request, descriptors = _receive(connection)
                verb = request.get("do") if isinstance(request, dict) else None
                handler = self._handlers.get(verb) if isinstance(verb, str) else None
                if handler is None:
                    _close(descriptors)
                    _send(connection, {"ok": False, "error": "unknown request"}, [])
                else:
                    _send(connection, *handler(descriptors))


def _send(connection: socket.socket, content: Mapping[str, object], descriptors: list[int]) -> None:
    socket.send_fds(connection, [json.dumps(content).encode() + b"\n"], descriptors)


def _receive(connection: socket.socket) -> tuple[Any, list[int]]:
    line, descriptors, _, _ = socket.recv_fds(connection, _LINE, 1)
    while line and not line.endswith(b"\n") and len(line) < _LINE:
        more = connection.recv(_LINE)
        line += more
        if not more:
            break
    return json.loads(line), descriptors


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
