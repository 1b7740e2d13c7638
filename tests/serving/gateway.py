"""An ingress as Kubeflow has one: routes by the Host header, and lets through who shows a token or a session cookie."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOGIN = "https://login.example.org/auth?state=secret-state"


class Gateway:
    """One running gateway.

    Args:
        routes: The port behind each host.
        token: The bearer token it lets through.
        cookie: The session cookie it lets through.
        answer: What it says to everybody instead: status, content type, body.
    """

    def __init__(
        self, routes: dict[str, int], token: str = "", cookie: str = "", answer: tuple[int, str, bytes] | None = None
    ) -> None:
        self.routes, self.token, self.cookie, self.answer = routes, token, cookie, answer
        self.hosts: list[str] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            server_version = "istio-envoy"
            sys_version = ""

            def log_message(self, *_: object) -> None:
                """Print nothing."""

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                gateway.hosts.append(self.headers["Host"])
                if gateway.answer:
                    self._say(*gateway.answer)
                elif not self._is_known():
                    self._say(302, "text/plain", b"", LOGIN)
                elif self.headers["Host"] not in gateway.routes:
                    self._say(404, "text/plain", b"")
                else:
                    self._pass_on(body)

            do_POST = do_GET  # noqa: N815

            def _is_known(self) -> bool:
                if not gateway.token and not gateway.cookie:
                    return True
                shown = self.headers.get("Authorization"), self.headers.get("Cookie")
                return shown[0] == f"Bearer {gateway.token}" or (bool(gateway.cookie) and shown[1] == gateway.cookie)

            def _pass_on(self, body: bytes) -> None:
                server = http.client.HTTPConnection("127.0.0.1", gateway.routes[self.headers["Host"]], timeout=20)
                server.request(self.command, self.path, body, {"Content-Type": self.headers.get("Content-Type", "")})
                answer = server.getresponse()
                self._say(answer.status, answer.headers["Content-Type"], answer.read())
                server.close()

            def _say(self, status: int, kind: str, body: bytes, location: str = "") -> None:
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[Gateway]:
        """Answer until the block ends."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        yield self
        self._server.shutdown()
        self._server.server_close()
