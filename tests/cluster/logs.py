"""What containers print, and the HTTPS endpoint of a kubelet, where the API server asks for it and runs commands."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tests.cluster import spdy

Execute = Callable[[str, str, str, list[str]], tuple[int, bytes, bytes]]
"""Runs a command in a container, by namespace, pod and container; returns its exit code, output and messages."""


class ContainerLog:
    """The lines of one container; readers may follow it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()

    def add(self, line: str) -> None:
        """Add a line."""
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def end(self) -> None:
        """Say that nothing more will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def follow(self) -> Iterator[list[str]]:
        """Yield what is there, then what comes, until the end."""
        seen, ended = 0, False
        while not ended:
            with self._changed:
                while len(self.lines) == seen and not self._ended:
                    self._changed.wait()
                fresh, ended = self.lines[seen:], self._ended
            seen += len(fresh)
            yield fresh


class Logs:
    """The logs of all containers, by namespace, pod and container."""

    def __init__(self) -> None:
        self._logs: dict[tuple[str, str, str], ContainerLog] = {}

    def open(self, namespace: str, pod: str, container: str) -> ContainerLog:
        """Begin a container's log; that of one of the same name before it is gone."""
        log = self._logs[namespace, pod, container] = ContainerLog()
        return log

    def find(self, namespace: str, pod: str, container: str) -> ContainerLog | None:
        """Return a container's log, or None where it has not started."""
        return self._logs.get((namespace, pod, container))

    def of(self, namespace: str) -> dict[tuple[str, str], ContainerLog]:
        """Return the logs of a namespace by pod and container."""
        found = list(self._logs.items())
        return {(pod, container): log for (space, pod, container), log in found if space == namespace}


class LogServer:
    """Serves `/containerLogs/<namespace>/<pod>/<container>` and `/exec/…` over TLS, as a kubelet does."""

    def __init__(self, logs: Logs, execute: Execute, tls: ssl.SSLContext) -> None:
        self._server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"logs": logs}))
        self._server.execute = execute
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serve from now on."""
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    execute: Execute | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the API server hangs up when its own client does."""


class _Handler(BaseHTTPRequestHandler):
    logs: ClassVar[Logs]
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        _, verb, *names = url.path.split("/")
        log = self.logs.find(*names) if verb == "containerLogs" and len(names) == 3 else None
        if log is None:
            return self._send(400, "the container is waiting to start\n")
        if "follow" not in query:
            count = int(query.get("tailLines", len(log.lines)))
            return self._send(200, "".join(f"{line}\n" for line in log.lines[-count:] if count))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for lines in log.follow():
            data = "".join(f"{line}\n" for line in lines).encode()
            if data:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")
        return None

    def do_POST(self) -> None:
        """Run a command; Argo's controller tells containers to end in this way."""
        url = urlsplit(self.path)
        _, verb, namespace, pod, *rest = url.path.split("/")
        query = parse_qs(url.query)
        if verb != "exec" or self.headers.get("Upgrade") != spdy.PROTOCOL:
            return self._send(400, "only exec over SPDY\n")
        self.send_response(101)
        upgrade = {"Connection": "Upgrade", "Upgrade": spdy.PROTOCOL, "X-Stream-Protocol-Version": spdy.CHANNELS}
        for name, value in upgrade.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        wanted = ["error", *(stream for stream, flag in (("stdout", "output"), ("stderr", "error")) if flag in query)]
        execute, command = self.server.execute, query.get("command", [])
        assert execute is not None
        spdy.serve_exec(self.rfile, self.wfile, wanted, lambda: execute(namespace, pod, rest[-1], command))
        return None

    def _send(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
