"""An OTLP receiver: what is sent to it over HTTP, read with OpenTelemetry's own messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What has arrived."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.url = ""

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for each in request.resource_spans:
            attributes = {pair.key: pair.value.string_value for pair in each.resource.attributes}
            self.services.add(attributes["service.name"])
            self.spans += [span for scope in each.scope_spans for span in scope.spans]

    def of(self, trace_id: str, count: int, seconds: float = 15) -> list[Any]:
        """Wait for as many spans of a trace, and return all that there are."""
        deadline = time.monotonic() + seconds
        while True:
            found = [span for span in list(self.spans) if span.trace_id.hex() == trace_id]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.05)


@contextmanager
def collector() -> Iterator[Collector]:
    got = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            right = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
            if right:
                got.take(body)
            self.send_response(200 if right else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    got.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield got
    finally:
        server.shutdown()
        server.server_close()
