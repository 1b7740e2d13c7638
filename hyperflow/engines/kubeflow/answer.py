"""Wait for a model's own answer: routes follow a rollout with a delay that no condition shows."""

from __future__ import annotations

import time
from http import HTTPStatus

from hyperflow import client
from hyperflow.errors import JobFailed, JobTimeout

_PROBE_SECONDS = 5.0
_TURNED_AWAY = (301, 302, 303, 307, 308, 401, 403)


def wait(url: str, deadline: float, timeout: int) -> None:
    """Ask for a model until it answers.

    Args:
        url: The model, as the V1 protocol names it.
        deadline: When to give up, on the monotonic clock.
        timeout: How long all of it may take, for the message.

    Raises:
        JobFailed: Somebody turns the request away, which waiting does not change.
        JobTimeout: It has not answered in time.
    """
    pause = 0.1
    while (problem := _problem(url)) is not None:
        if time.monotonic() + pause > deadline:
            remedy = "see whether this step can reach the predictor (NetworkPolicy, mesh)"
            raise JobTimeout(f"{url} did not answer within {timeout} s", str(problem), remedy)
        time.sleep(pause)
        pause = min(2.0, pause * 1.5)


def _problem(url: str) -> JobFailed | None:
    """Ask once, and return what keeps the model from answering."""
    try:
        reply = client.get(url, seconds=_PROBE_SECONDS)
    except JobFailed as failure:
        return failure
    if reply.status == HTTPStatus.OK and not reply.is_page:
        return None
    refusal = client.refusal(url, reply)
    if reply.is_page or reply.status in _TURNED_AWAY:
        raise JobFailed(f"{refusal.what}; the service itself is ready", refusal.why, refusal.remedy)
    return refusal
