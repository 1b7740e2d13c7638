"""What containers print, and the HTTPS endpoint of a kubelet at which the API server asks for it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit


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
    """Serves `/containerLogs/<namespace>/<pod>/<container>` over TLS, as a kubelet does."""

    def __init__(self, logs: Logs, tls: ssl.SSLContext) -> None:
        self._server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"logs": logs}))
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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the API server hangs up when its own client does."""


class _Handler(BaseHTTPRequestHandler):
    logs: ClassVar[Logs]
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

    def _send(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
