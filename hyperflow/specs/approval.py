"""What a person is asked before a model goes live, and what that person said."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hyperflow.errors import InvalidParameter


@dataclass(frozen=True)
class Question:
    """May this model go live?

    Args:
        run_id: The run that asks.
        model_name: The service that would change.
        reason: Why the gate said yes, in one sentence.
        verdict: The gate's answer and all its numbers, as Markdown.
        against: The run whose model was serving then, or empty.
        page: Place of a page on the volume with the verdict and the misread images.
        asked: When, in seconds since 1970.
        until: When an answer comes too late, in seconds since 1970.
    """

    run_id: str
    model_name: str
    reason: str
    verdict: str
    against: str
    page: str
    asked: float
    until: float

    @property
    def is_open(self) -> bool:
        """Whether there is still time to answer it."""
        return time.time() <= self.until


@dataclass(frozen=True)
class Answer:
    """What was said.

    Args:
        approved: Whether the model may go live.
        who: The person's name on this machine or on the cluster; empty where nobody answered in time.
        why: The reason given.
        at: When, in seconds since 1970.

    Raises:
        InvalidParameter: A person rejects a model without a reason.
    """

    approved: bool
    who: str
    why: str = ""
    at: float = 0.0

    def __post_init__(self) -> None:
        if not self.approved and not self.why.strip():
            raise InvalidParameter("--reason", self.why, "why the model is rejected, for those who made it")

    def __str__(self) -> str:
        if not self.who:
            return self.why
        why = f" ({self.why})" if self.why else ""
        return f"{'approved' if self.approved else 'rejected'} by {self.who} on {moment(self.at)}{why}"


def moment(seconds: float) -> str:
    """Write a time as people on different continents read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
