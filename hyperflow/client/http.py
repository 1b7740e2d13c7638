"""Ask over HTTP: one request, one bounded answer, no redirection followed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

import urllib3

from hyperflow.client.access import Access
from hyperflow.client.refusals import named, refusal
from hyperflow.client.reply import Reply
from hyperflow.errors import JobFailed

SECONDS = 30.0
"""How long an answer may take before the service counts as not answering."""
OWN_QUESTION = "hyperflow-own-question"
"""Header of what Hyperflow asks for itself, to test or to compare models."""

_MOST_BYTES = 16 << 20  # of an answer; ten thousand images' probabilities take 2 MB
_POOL = urllib3.PoolManager(retries=False, maxsize=32)  # of many threads at once, as in the demo page


def get(url: str, access: Access | None = None, seconds: float = SECONDS) -> Reply:
    """Ask once, and return whatever is answered; a redirection is an answer, never followed.

    Raises:
        JobFailed: There is no answer.
    """
    return _send("GET", url, None, access or Access.from_environment(), seconds)


def post(
    url: str,
    body: object,
    access: Access | None = None,
    seconds: float = SECONDS,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, object]:
    """Send JSON, with further headers or without, and return the JSON object that is answered.

    Raises:
        JobFailed: The answer is an error or a login page, or there is none.
    """
    access = access or Access.from_environment()
    return content(url, _send("POST", url, json.dumps(body).encode(), access, seconds, headers), access)


def content(url: str, reply: Reply, access: Access | None = None) -> dict[str, object]:
    """Return the JSON object of an answer.

    Raises:
        JobFailed: It is an error, a login page, or something else.
    """
    access = access or Access.from_environment()
    if reply.status != HTTPStatus.OK or reply.is_page:
        raise refusal(url, reply, access)
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        raise JobFailed(f"{named(url, access)} does not answer with JSON", reply.text) from error
    if not isinstance(answer, dict):
        raise JobFailed(f"{named(url, access)} does not answer with a JSON object", reply.text)
    return answer


def send(method: str, address: str, body: bytes | None, headers: Mapping[str, str], seconds: float) -> Reply:
    """Send a request as it is, and return whatever is answered; a redirection is an answer, never followed.

    Raises:
        HTTPError, OSError: There is no answer, or it is not whole in time; the first is urllib3's.
    """
    response = _POOL.request(
        method, address, body=body, headers=headers, timeout=urllib3.Timeout(total=seconds), redirect=False,
        preload_content=False,
    )  # fmt: skip
    with response:
        return Reply(response.status, response.headers, _body(response, time.monotonic() + seconds))


def reason(error: BaseException) -> str:
    """Return what the system says of a connection, where it does, and else what the library says."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__
    return str(error)


def _send(
    method: str,
    url: str,
    body: bytes | None,
    access: Access,
    seconds: float,
    more: Mapping[str, str] = MappingProxyType({}),
) -> Reply:
    address, headers = access.route(url)
    headers.update(more)
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        return send(method, address, body, headers, seconds)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        remedy = "see whether the service runs, and its log"
        if isinstance(error, urllib3.exceptions.NameResolutionError):
            remedy = "outside the cluster ask the ingress, with the service's host"
        raise JobFailed(f"{named(url, access)} gives no answer", reason(error), remedy) from error


def _body(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """Read an answer piece by piece: a socket's own time limit begins anew with every byte.

    Raises:
        TimeoutError: It is not whole in time.
    """
    pieces, size = [], 0
    while size < _MOST_BYTES and (piece := response.read1(1 << 16)):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline:
            raise TimeoutError("the answer was not whole in time")
    return b"".join(pieces)
