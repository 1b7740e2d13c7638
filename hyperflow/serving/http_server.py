"""Accepts connections: uvicorn, with bounds on what precedes a body, sockets taken over, and an end without loss."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hyperflow.serving.app import App

HEADER_BYTES = 32 * 1024
HEADER_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 65
BACKLOG = 1024
LINGER_SECONDS = 5.0
"""How long a quiet connection stays open while draining: as long as common clients keep one for their next request."""


class Connection(HttpToolsProtocol):
    """One connection, with bounds on the length of a request's head and on the time it may take."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # noqa: D102
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if self._head_timer is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > HEADER_BYTES and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:  # noqa: D102
        super().on_message_begin()
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:  # noqa: D102
        self._stop_timer()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEADER_SECONDS, self._refuse, b"408 Request Timeout")

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes) -> None:
        self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


class HttpServer(uvicorn.Server):
    """Serves an application on listening sockets, until a signal ends it.

    Args:
        app: The application.
        on_started: Called once connections are accepted.
        on_draining: Called when no more are.
    """

    def __init__(self, app: App, on_started: Callable[[], None], on_draining: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=int(app.limits.drain_seconds),
                backlog=BACKLOG,
            )
        )
        self._app = app
        self._on_started, self._on_draining = on_started, on_draining

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: D102
        await super().startup(sockets)
        self._on_started()

    async def accept_on(self, listener: socket.socket) -> None:
        """Accept connections on a further listening socket."""
        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(self._connection, sock=listener, backlog=self.config.backlog))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting; answer what comes on open connections, each with `connection: close`; then close them."""
        self._app.draining = True
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        self._on_draining()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while self.server_state.connections:
                    await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on SIGTERM and SIGINT; unlike uvicorn, don't die of the signal after an end in good order."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.should_exit = True

    def _connection(self) -> asyncio.Protocol:
        return Connection(self.config, self.server_state, self.lifespan.state)
