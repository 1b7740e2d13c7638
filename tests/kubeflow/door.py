"""The address of a service: passes requests on to the servers that are in charge, each as often as its share says."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NOBODY = 0
"""In a port's place: there is no server, and who is sent there is answered with 503."""


class Door:
    def __init__(self) -> None:
        self._shares: dict[int, float] = {}
        self._due: dict[int, float] = {}
        self._lock = threading.Lock()
        door = self

        class Pass(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Print nothing."""

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, data = _ask(door.next(), self.command, self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Pass)
        self._server.daemon_threads = True
        self._server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def open_to(self, shares: Mapping[int, float]) -> None:
        """Send requests to these ports, by percent."""
        with self._lock:
            if shares != self._shares:
                self._shares, self._due = dict(shares), dict.fromkeys(shares, 0.0)

    def next(self) -> int:
        """Return whose turn it is: of 100 requests in a row each port gets as many as its percent."""
        with self._lock:
            if not self._shares:
                return NOBODY
            for port, percent in self._shares.items():
                self._due[port] += percent
            port = max(self._due, key=self._due.__getitem__)
            self._due[port] -= 100
            return port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _ask(port: int, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    if port == NOBODY:
        return 503, b"no healthy upstream"
    server = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    server.request(method, path, body)
    answer = server.getresponse()
    return answer.status, answer.read()
