"""The steps of a run as one trace: every step sends a span of its own when it ends, and all know the trace's id."""

from __future__ import annotations

import hashlib
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hyperflow import telemetry
from hyperflow.errors import Cancelled, HyperflowError

SERVICE = "hyperflow-steps"
_SECONDS = 5.0  # that a step waits for its span to be taken


def trace_id(run_id: str) -> int:
    """Return the id of a run's trace, which every step finds alone: 128 bits of the SHA-256 of the run's id."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:16]) or 1


@contextmanager
def traced(stage: str, run_id: str) -> Iterator[None]:
    """Send a span of what the block does, where spans are wanted; one that cannot be sent is a warning.

    Args:
        stage: The step's name.
        run_id: The run's id.
    """
    if not telemetry.is_on():
        yield
        return
    started, state, failed = time.time_ns(), "failed", ""
    try:
        yield
        state = "succeeded"
    except BaseException as error:
        cancelled = isinstance(error, Cancelled | KeyboardInterrupt)
        state, failed = ("cancelled" if cancelled else "failed"), _words(error)
        raise
    finally:
        attributes = {"hyperflow.run_id": run_id, "hyperflow.step": stage, "hyperflow.state": state}
        span_id, now = random.getrandbits(64) or 1, time.time_ns()
        _send(telemetry.Span(stage, trace_id(run_id), span_id, started, now, failed=failed, attributes=attributes))


def _send(span: telemetry.Span) -> None:
    try:
        sent = telemetry.Exporter(SERVICE, _SECONDS).send(span)
        why = "" if sent else "the collector did not take it"
    except Exception as error:  # whatever goes wrong here, the step's work is done
        why = f"{type(error).__name__}: {error}"
    if why:
        print(f"warning: the step's span was not sent: {why}", file=sys.stderr, flush=True)


def _words(error: BaseException) -> str:
    return error.what if isinstance(error, HyperflowError) else type(error).__name__
