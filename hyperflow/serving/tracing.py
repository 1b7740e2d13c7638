"""One request's times, from its first byte to its answer, and the spans made of them once it is answered."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from hyperflow import telemetry
from hyperflow.serving import logs
from hyperflow.telemetry import Span

TRACEPARENT = "traceparent"
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(slots=True)
class Timeline:
    """When what happened to a request that is traced, in nanoseconds since the epoch; 0 for what did not.

    Args:
        trace_id: Its trace.
        parent: The caller's span id, or 0.
    """

    trace_id: int
    parent: int
    received: int
    queued: int = 0
    picked: int = 0
    model_start: int = 0
    model_end: int = 0
    given: int = 0
    rows: int = 0
    batch_rows: int = 0


CURRENT: ContextVar[Timeline | None] = ContextVar("timeline", default=None)
"""The timeline of the request being answered, if it is traced; the batcher writes into it."""


def parse(header: str) -> tuple[int, int, bool] | None:
    """Read a W3C `traceparent`: trace id, span id and whether the caller traces it; None where it is not one."""
    found = _FORM.fullmatch(header) if len(header) <= 512 else None
    if found is None or (found[1] == "00" and found[5]):
        return None
    return int(found[2], 16), int(found[3], 16), bool(int(found[4], 16) & 1)


def begin(service: str) -> Tracer | None:
    """Return what traces requests; None where none is wanted, or none can be made: a model is served all the same."""
    if not telemetry.is_on():
        return None
    try:
        return Tracer(telemetry.Exporter(service))
    except (ImportError, ValueError) as error:
        logs.warning("requests are not traced", why=str(error))
        return None


class Tracer:
    """Decides which requests are traced, and sends their spans.

    Args:
        exporter: Where they go.
    """

    def __init__(self, exporter: telemetry.Exporter) -> None:
        self._exporter = exporter

    def begin(self, header: str | None) -> Timeline | None:
        """Begin a request's timeline, and make it the current one, if it is to be traced.

        Args:
            header: Its `traceparent`; one that is damaged counts as none.
        """
        caller = parse(header) if header else None
        trace_id, parent, sampled = caller or (random.getrandbits(128) or 1, 0, False)
        if not self._exporter.samples(trace_id, parent, sampled):
            return None
        timeline = Timeline(trace_id, parent, time.time_ns())
        CURRENT.set(timeline)
        return timeline

    def end(self, timeline: Timeline, name: str, attributes: Mapping[str, str | int], failed: str = "") -> None:
        """Send an answered request's spans."""
        for span in spans(timeline, name, attributes, failed, time.time_ns()):
            self._exporter.queue(span)

    def close(self) -> None:
        """Send what waits."""
        self._exporter.close()


def spans(
    times: Timeline, name: str, attributes: Mapping[str, str | int], failed: str, answered: int
) -> Iterator[Span]:
    """Make a request's spans: itself, and below it its wait, its batch and, below that, the call of the model."""
    request = Span(
        name, times.trace_id, _new_id(), times.received, answered, times.parent,
        remote=True, server=True, failed=failed, attributes=attributes,
    )  # fmt: skip
    yield request
    if times.queued:
        yield _below(request, "queue", times.queued, times.picked or answered, {"instances": times.rows})
    if times.picked:
        batch = _below(request, "batch", times.picked, times.given or answered, {"instances": times.batch_rows})
        yield batch
        if times.model_start:
            yield _below(batch, "model", times.model_start, times.model_end or answered, {})


def _below(parent: Span, name: str, start: int, end: int, attributes: Mapping[str, int]) -> Span:
    return Span(name, parent.trace_id, _new_id(), start, end, parent.span_id, attributes=attributes)


def _new_id() -> int:
    return random.getrandbits(64) or 1
