"""A page that shows a run while it goes, served on the loopback address by the process that runs it.

    GET /             the page as it is now
    GET /now?seen=…   the page once it is another than the one seen; in the end the finished report
    GET /live.js      what asks for that in the browser

It only reads what the run writes, so it can neither hold up the run nor make it fail, and it ends with the process. A
page of another site cannot read it: the host's name is checked, and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hyperflow.errors import HyperflowError, Unavailable
from hyperflow.progress import Progress
from hyperflow.report import live, pages
from hyperflow.report.live import Stage
from hyperflow.runner.asked import Request
from hyperflow.runner.output import Listener
from hyperflow.volume import paths

_HOST = "127.0.0.1"
_NAMES = {_HOST, "localhost"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_PATIENCE = 15.0  # seconds that a browser waits for news
_SHARE = 10  # drawing takes at most a tenth of a core
_LINGER = 3.0  # seconds that open pages have to fetch the end


class Live:
    """What the page shows, and who waits for it.

    Args:
        request: The run.
    """

    def __init__(self, request: Request) -> None:
        self._request, self._started = request, time.time()
        self._stages: list[Stage] = []
        self._since = self._started
        self._changed, self._drawing = threading.Condition(), threading.Lock()
        self._events, self._waiting, self._asked_last = 0, 0, 0.0
        self._drawn, self._page, self._not_before = "", "", 0.0
        self._ended, self._error = False, ""

    @property
    def run_id(self) -> str:
        """The run shown."""
        return self._request.run_id

    def listener(self, other: Listener) -> Listener:
        """Return a listener that tells this page and another listener."""

        def stage(name: str) -> None:
            self._begin(name)
            other.stage(name)

        def progress(forward: Progress) -> None:
            self._forward(forward)
            other.progress(forward)

        return Listener(stage, progress, other.say)

    def now(self, seen: str) -> tuple[str, str] | None:
        """Return the page and its mark once it is another than the one seen; the last page has no mark.

        Returns:
            None where there is no news for a while.
        """
        deadline = time.monotonic() + _PATIENCE
        with self._changed:
            self._waiting += 1
            self._asked_last = time.monotonic()
        try:
            while time.monotonic() < deadline:
                if self._ended:
                    return self._final(), ""
                page, mark = self._draw()
                if mark != seen:
                    return page, mark
                with self._changed:
                    self._changed.wait(0.25)
            return None
        finally:
            with self._changed:
                self._waiting -= 1
                self._asked_last = time.monotonic()

    def end(self, error: str = "") -> None:
        """Put the report in the page's place, or why there is none, and wait a moment for open pages to fetch it."""
        self._finish()
        self._error, self._ended = error, True
        deadline = time.monotonic() + _LINGER
        with self._changed:
            self._changed.notify_all()
            while time.monotonic() < deadline and (self._waiting or time.monotonic() - self._asked_last < 1):
                self._changed.wait(0.05)

    def _begin(self, name: str) -> None:
        self._finish()
        with self._changed:
            self._stages.append(Stage(name))
            self._notify()

    def _forward(self, forward: Progress) -> None:
        with self._changed:
            if self._stages:
                self._stages[-1] = replace(
                    self._stages[-1], done=forward.done, total=forward.total, text=forward.text
                )  # fmt: skip
            self._notify()

    def _finish(self) -> None:
        with self._changed:
            now = time.time()
            if self._stages and self._stages[-1].runs:
                self._stages[-1] = replace(self._stages[-1], runs=False, seconds=now - self._since)
            self._since = now
            self._notify()

    def _notify(self) -> None:
        self._events += 1
        self._changed.notify_all()

    def _mark(self) -> str:
        return f"{self._events}.{live.state(self.run_id)}"

    def _draw(self) -> tuple[str, str]:
        """Draw the page, once for all who wait for it, and not so often that the run would feel it."""
        with self._drawing:
            mark, began = self._mark(), time.thread_time()
            if mark != self._drawn and time.monotonic() > self._not_before:
                self._page, self._drawn = self._made(), mark
                self._not_before = time.monotonic() + _SHARE * (time.thread_time() - began)
            return self._page, self._drawn

    def _final(self) -> str:
        if not self._error:
            return paths.run_report(self.run_id).read_text(encoding="utf-8")
        with self._drawing:
            return self._made()

    def _made(self) -> str:
        with self._changed:
            stages = tuple(self._stages)
        return live.page(self.run_id, stages, self._started, self._request.command, self._error)


@contextmanager
def watched(request: Request, port: int = 0) -> Iterator[tuple[Live, str]]:
    """Serve a run's page while the block runs; yield it and its address.

    Raises:
        Unavailable: The port is taken.
    """
    shown = Live(request)
    with _server(shown, port) as server:
        threading.Thread(target=server.serve_forever, args=(0.1,), name="live page", daemon=True).start()
        try:
            yield shown, f"http://{_HOST}:{server.server_address[1]}"
            shown.end()
        except HyperflowError as error:
            shown.end(str(error))
            raise
        finally:
            server.shutdown()


def _server(shown: Live, port: int) -> _Server:
    try:
        return _Server(shown, port)
    except OSError as error:
        remedy = "stop the program that has it, or give another --live-port (0 takes any free one)"
        raise Unavailable(f"port {port} of {_HOST} cannot be used", error.strerror or str(error), remedy) from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, shown: Live, port: int) -> None:
        self.shown = shown
        super().__init__((_HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep in the run's log why a page could not be made; a browser that has gone is no news."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            with contextlib.suppress(OSError), paths.run_log(self.shown.run_id).open("a", encoding="utf-8") as log:
                traceback.print_exc(file=log)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30
    server_version, sys_version = "hyperflow", ""

    def do_GET(self) -> None:
        """Answer with the page, or refuse."""
        address = urlsplit(self.path)
        if not self._is_meant():
            return self._answer(HTTPStatus.FORBIDDEN, "this page is for this machine alone", "text/plain")
        if address.path == "/live.js":
            return self._answer(HTTPStatus.OK, pages.script(), "text/javascript")
        if address.path not in ("/", "/now"):
            return self._answer(HTTPStatus.NOT_FOUND, "not found", "text/plain")
        seen = parse_qs(address.query).get("seen", [""])[0]
        found = self.server.shown.now(seen if address.path == "/now" else "")
        if found is None:
            return self._answer(HTTPStatus.NO_CONTENT, "", "text/plain")
        self._answer(HTTPStatus.OK, found[0], "text/html", {"ETag": found[1]} if found[1] else {})

    do_HEAD = do_GET  # noqa: N815 - the base class finds methods by these names

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal belongs to the run."""

    def _is_meant(self) -> bool:
        """Tell whether the browser means this machine, and is not led here by the name of a site that is elsewhere."""
        try:
            return urlsplit(f"//{self.headers.get('Host', '')}").hostname in _NAMES
        except ValueError:
            return False

    def _answer(self, status: HTTPStatus, text: str, kind: str, more: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**_HEADERS, **(more or {}), "Content-Type": f"{kind}; charset=utf-8"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
