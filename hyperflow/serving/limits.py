"""What one request, and all of them together, may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds that keep the server answering whatever is sent to it.

    Args:
        body_bytes: Length of a body; parsed JSON takes up to twenty times that for a moment.
        rows: Instances in one request.
        explained_rows: Instances in one request for explanations, each of up to 50 calls of the model.
        pending_rows: Instances that may wait for the model, over all requests.
        batch_rows: Instances in one call of the model; fewer where they are large.
        receive_seconds: Time in which a request must have arrived.
        answer_seconds: Time in which the model must have answered.
        drain_seconds: Time that requests in flight get to end, once idle connections have been closed.
    """

    body_bytes: int = 2 * 2**20
    rows: int = 256
    explained_rows: int = 8
    pending_rows: int = 4096
    batch_rows: int = 256
    receive_seconds: float = 20.0
    answer_seconds: float = 30.0
    drain_seconds: float = 20.0
