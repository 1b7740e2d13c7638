"""A proxy in front of the API server: counts the requests of a step, and makes the network and the server worse."""

from __future__ import annotations

import collections
import http.client
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from tests.kubeflow.emulator import Fault, Request
from tests.kubeflow.store import Refusal

_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})
_UPSTREAM_SECONDS = 400


class Proxy:
    """The proxy: `with Proxy(port, authority) as proxy: …`; `proxy.url` is where it listens, without TLS.

    Args:
        port: Port of the API server on the loopback.
        authority: Certificate of the authority that signed the API server's.
    """

    def __init__(self, port: int, authority: Path) -> None:
        self.port = port
        self.tls = ssl.create_default_context(cafile=str(authority))
        self.requests: list[Request] = []
        self.refused: list[Request] = []
        self.faults: list[Fault] = []
        self.loses: Callable[[Request], bool] = lambda _: False
        self.statuses: collections.Counter[int] = collections.Counter()
        self.latency = 0.0
        self._down_until = 0.0
        self._connections: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"proxy": self}))

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self.cut()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def is_down(self) -> bool:
        """Whether nobody is answered now."""
        return time.monotonic() < self._down_until

    def cut(self) -> int:
        """Break all open connections, as a load balancer does; return how many there were."""
        connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._connections.discard(connection)
        return len(connections)

    def outage(self, seconds: float) -> None:
        """Answer nobody for a while."""
        self._down_until = time.monotonic() + seconds
        self.cut()

    def count(self, verb: str, resource: str) -> int:
        """Return how many requests of a kind have arrived."""
        return sum((request.verb, request.resource) == (verb, resource) for request in list(self.requests))

    def fault_for(self, request: Request) -> Fault | None:
        """Return the fault that this request is to meet."""
        for fault in self.faults:
            if fault.times > 0 and fault.matches(request):
                fault.times -= 1
                return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients and servers that go without a word."""
        if not isinstance(sys.exception(), (OSError, http.client.HTTPException)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection, and the one behind it."""

    proxy: ClassVar[Proxy]
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.proxy._connections.add(self.connection)
        self._upstream: http.client.HTTPSConnection | None = None

    def finish(self) -> None:
        self.proxy._connections.discard(self.connection)
        if self._upstream is not None:
            self._upstream.close()
        super().finish()

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        request = Request(self.command, url.path, dict(parse_qsl(url.query)))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.proxy.is_down:
            self.close_connection = True
            return
        self.proxy.requests.append(request)
        time.sleep(self.proxy.latency)
        fault = self.proxy.fault_for(request)
        if fault is None:
            self._pass(body, self.proxy.loses(request))
        else:
            self.proxy.refused.append(request)
            self._refuse(fault)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _refuse(self, fault: Fault) -> None:
        self.close_connection = not fault.status
        if fault.status:
            data = json.dumps(Refusal(fault.status, fault.reason, "as the test asked").body()).encode()
            self._head(fault.status, {"Content-Type": "application/json", **fault.headers, "Content-Length": len(data)})
            self.wfile.write(data)

    def _pass(self, body: bytes, lose: bool) -> None:
        """Hand the request on and the answer back, piece by piece as it comes, or lose the answer."""
        answer = self._ask(body)
        self.proxy.statuses[answer.status] += 1
        if lose:
            answer.read()
            self.close_connection = True
            return
        length = answer.getheader("Content-Length")
        headers: dict[str, object] = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP}
        headers |= {"Content-Length": length} if length else {"Transfer-Encoding": "chunked"}
        self._head(answer.status, headers)
        while data := answer.read1(65536):
            self.wfile.write(data if length else b"%x\r\n%s\r\n" % (len(data), data))
        answer.close()  # read1 leaves it open at its end, and the connection then takes no other request
        if not length:
            self.wfile.write(b"0\r\n\r\n")

    def _ask(self, body: bytes) -> http.client.HTTPResponse:
        proxy = self.proxy
        if self._upstream is None:
            self._upstream = http.client.HTTPSConnection(
                "127.0.0.1", proxy.port, context=proxy.tls, timeout=_UPSTREAM_SECONDS
            )
        headers = {name: value for name, value in self.headers.items() if name.lower() not in (*_HOP, "host")}
        self._upstream.request(self.command, self.path, body or None, headers)
        return self._upstream.getresponse()

    def _head(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
