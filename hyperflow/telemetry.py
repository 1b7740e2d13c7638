"""Spans by OTLP, where OTEL_EXPORTER_OTLP_ENDPOINT says: the only module that knows OpenTelemetry.

Nothing of it is imported where the variable is unset. A span is built when all of it is known, with its times, and
handed to the SDK's exporter; nobody waits for it meanwhile.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SHARE = 0.01
"""Share of the requests traced that nobody asked to trace, where OTEL_TRACES_SAMPLER says nothing."""
GAP_SECONDS = 0.1
"""Least time from one of them to the next, so that a busy server's spans cost no more than a quiet one's."""

_LAST_SECONDS = 3.0


@dataclass(frozen=True)
class Span:
    """One span, whole.

    Args:
        name: What was done.
        trace_id: 128 bits, not zero.
        span_id: 64 bits, not zero.
        start: Nanoseconds since the epoch.
        end: The same.
        parent: The parent's span id, or 0.
        remote: Whether the parent is another process's.
        server: Whether it is the answer to a request.
        failed: What went wrong, or nothing.
        attributes: What else is known.
    """

    name: str
    trace_id: int
    span_id: int
    start: int
    end: int
    parent: int = 0
    remote: bool = False
    server: bool = False
    failed: str = ""
    attributes: Mapping[str, str | int | bool] = field(default_factory=dict)


def is_on() -> bool:
    """Tell whether spans are wanted."""
    return bool(os.environ.get(ENDPOINT)) and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"


class Exporter:
    """Sends spans; OpenTelemetry's own variables say where, how many and in what batches.

    Args:
        service: `service.name`, unless the environment gives one.
        seconds: Time that one export may take; None for what the environment says.

    Raises:
        ImportError: OpenTelemetry is not installed.
        ValueError: A variable of OpenTelemetry's has a value that it does not take.
    """

    def __init__(self, service: str, seconds: float | None = None) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        self._resource = Resource.create(None if named else {"service.name": service})
        asked = os.environ.get("OTEL_TRACES_SAMPLER")
        self._sampler: Any = TracerProvider(shutdown_on_exit=False).sampler if asked else None
        self._next = 0.0
        self._exporter = OTLPSpanExporter(timeout=seconds)
        self._processor = BatchSpanProcessor(self._exporter)

    def samples(self, trace_id: int, parent: int, sampled: bool) -> bool:
        """Decide whether a request is traced.

        Args:
            trace_id: Its trace.
            parent: The caller's span id, or 0 where the caller sent none.
            sampled: Whether the caller traces it.
        """
        if self._sampler is None:  # the SDK's own would take ten times as long
            return sampled if parent else random.random() < SHARE and self._is_due()
        from opentelemetry import trace

        context = None
        if parent:
            flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else trace.TraceFlags.DEFAULT)
            caller = trace.SpanContext(trace_id, parent, True, flags)
            context = trace.set_span_in_context(trace.NonRecordingSpan(caller))
        return bool(self._sampler.should_sample(context, trace_id, "request").decision.is_sampled())

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + GAP_SECONDS
        return True

    def queue(self, span: Span) -> None:
        """Have a span sent soon; it is dropped where too many wait."""
        self._processor.on_end(self._built(span))

    def send(self, span: Span) -> bool:
        """Send a span at once, and tell whether it arrived."""
        return self._exporter.export([self._built(span)]).name == "SUCCESS"

    def close(self) -> None:
        """Send what waits, if that is possible within a few seconds, and end."""
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(_LAST_SECONDS)

    def _built(self, span: Span) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        sampled = TraceFlags(TraceFlags.SAMPLED)
        return ReadableSpan(
            span.name,
            SpanContext(span.trace_id, span.span_id, False, sampled),
            SpanContext(span.trace_id, span.parent, span.remote, sampled) if span.parent else None,
            self._resource,
            dict(span.attributes),
            kind=SpanKind.SERVER if span.server else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.failed) if span.failed else Status(),
            start_time=span.start,
            end_time=span.end,
            instrumentation_scope=InstrumentationScope("hyperflow"),
        )
