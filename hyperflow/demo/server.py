"""The page's web server: the few routes that the page needs, and nothing from or to elsewhere."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hyperflow.demo.gallery import Gallery, find_dataset
from hyperflow.demo.predictor import Predictor
from hyperflow.errors import DataError, InvalidParameter, Unavailable

LOGGER = logging.getLogger("hyperflow.demo")

MAX_BODY = 4 << 20
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'; font-src 'self' data:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

_FILES = ("/assets/", "/static/", "/gradio_api/heartbeat/")
_GET = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/gradio_api/queue/data"}
_POST = {"/gradio_api/queue/join"}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def main(url: str, name: str, *, host: str, port: int, dataset: str, source: str) -> None:
    """Serve the page until SIGTERM or Ctrl-C.

    Args:
        url: Base URL of the predictor.
        name: The model's name.
        host: Address to listen on.
        port: Port of the page; 0 for any free one.
        dataset: The data set whose test images can be picked.
        source: Where to load it from if the volume has none; `none` to do without.

    Raises:
        InvalidParameter: The URL or the name cannot work.
        Unavailable: The port is taken, or Gradio is not installed.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    app = application(Predictor(url, name), _gallery(dataset, source))
    import uvicorn

    with _listen(host, port) as listener:
        print(f"The page is at http://{host}:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none",
            limit_concurrency=256, timeout_graceful_shutdown=2,
        )  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def application(predictor: Predictor, gallery: Gallery | None) -> App:
    """Make the page's ASGI application.

    Raises:
        Unavailable: Gradio is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
        from fastapi import FastAPI
    except ModuleNotFoundError as error:
        raise Unavailable("the demo page cannot be served", str(error), "pip install hyperflow[demo]") from error
    from hyperflow.demo import views
    from hyperflow.demo.page import Page, theme

    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gradio.mount_gradio_app(
        outer, Page(predictor, gallery).blocks(), path="/", footer_links=[], run_history=False,
        show_error=False, max_file_size=0, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False,
        theme=theme(), css=views.asset("page.css"),
    )  # fmt: skip
    return Shield(outer)


class Shield:
    """Lets through what the page needs and refuses the rest of Gradio's routes: files, uploads, proxies, editors.

    Args:
        app: The application behind it.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if not _needed(scope["method"], scope["path"]):
            return await _refuse(send, 404, b"not found")
        if scope["method"] == "POST" and not _bounded(scope):
            return await _refuse(send, 413, b"too large, or of no stated length")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_headers()]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _needed(method: str, path: str) -> bool:
    if method in ("GET", "HEAD"):
        return path in _GET or (path.startswith(_FILES) and ".." not in path)
    return method == "POST" and path in _POST


def _bounded(scope: Message) -> bool:
    length = dict(scope["headers"]).get(b"content-length", b"")
    return length.isdigit() and len(length) < 10 and int(length) <= MAX_BODY


async def _refuse(send: Send, status: int, reason: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close"), *_headers()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason})


def _headers() -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def _gallery(dataset: str, source: str) -> Gallery | None:
    try:
        found = find_dataset(dataset, source)
        return Gallery(found.images("test"), found.labels("test"), found.classes)
    except (DataError, Unavailable) as error:
        LOGGER.warning("there are no test images to pick from: %s", error)
        return None


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InvalidParameter("port", port, "a whole number from 0 to 65535")
    try:
        return socket.create_server((host, port))
    except OSError as error:
        remedy = "stop the program that has it, or give another port (0 takes any free one)"
        raise Unavailable(f"port {port} of {host} cannot be used", error.strerror or str(error), remedy) from error
