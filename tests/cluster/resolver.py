"""Cluster DNS and kube-proxy for programs that do not ask us for addresses: an HTTP proxy that knows the names.

gRPC gives a proxy the name that it was to connect to, and resolves nothing itself.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from tests.cluster.portal import join

_NAME = re.compile(r"(?P<service>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)(\.svc(\.cluster\.local)?)?:(?P<port>\d+)")
_CONNECT_SECONDS = 5.0

Endpoint = Callable[[str, str, int], tuple[str, int]]
"""Address of a ready pod behind a service: of its namespace, name and port."""


class Resolver:
    """The proxy, on a port of the loopback.

    Args:
        endpoint: Where a service's pods are.
        known: Addresses of services that have no pods here, by `name.namespace:port`.
    """

    def __init__(self, endpoint: Endpoint, known: Mapping[str, tuple[str, int]]) -> None:
        self._endpoint, self._known = endpoint, known
        self._server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"resolver": self}))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def address(self, name: str) -> tuple[str, int]:
        """Return where `service.namespace:port` is served now.

        Raises:
            OSError: There is no such service, or nobody is ready.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise socket.gaierror(socket.EAI_NONAME, f"{name} is no service")
        return self._known.get(name) or self._endpoint(match["namespace"], match["service"], int(match["port"]))

    def start(self) -> None:
        """Serve from now on."""
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    resolver: ClassVar[Resolver]

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_CONNECT(self) -> None:
        self.close_connection = True
        try:
            upstream = socket.create_connection(self.resolver.address(self.path), _CONNECT_SECONDS)
        except OSError as error:
            return self.send_error(HTTPStatus.BAD_GATEWAY, str(error))
        upstream.settimeout(None)
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.wfile.flush()
        return join(self.connection, upstream)
