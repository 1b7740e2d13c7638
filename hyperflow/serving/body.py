"""Reads a request's body, within bounds of length and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hyperflow.serving.limits import Limits
from hyperflow.serving.tensors import RequestError

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Disconnected(Exception):
    """The client went away before its request had arrived."""


async def read_body(scope: Mapping[str, Any], receive: Receive, limits: Limits) -> bytes:
    """Read the whole body.

    Raises:
        RequestError: It is encoded, too long, too nested, or too slow in coming.
        Disconnected: The client went away.
    """
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise RequestError("bodies with a content-encoding are not taken", 415)
    try:
        async with asyncio.timeout(limits.receive_seconds):
            if _declared(headers) > limits.body_bytes:
                await _discard(headers, receive)
            return await _collect(receive, limits)
    except TimeoutError:
        raise RequestError(f"the body had not arrived within {limits.receive_seconds:g} s", 408) from None
    except _TooLong:
        raise RequestError(f"the body is longer than {limits.body_bytes} bytes", 413) from None


class _TooLong(Exception):
    pass


async def _collect(receive: Receive, limits: Limits) -> bytes:
    body, more = await _chunk(receive)
    if not more and len(body) <= limits.body_bytes:
        return body
    chunks, length = [body], len(body)
    while more:
        body, more = await _chunk(receive)
        chunks.append(body)
        length += len(body)
        if length > limits.body_bytes:
            chunks.clear()
            while more:
                _, more = await _chunk(receive)
    if length > limits.body_bytes:
        raise _TooLong
    return b"".join(chunks)


async def _discard(headers: Mapping[bytes, bytes], receive: Receive) -> None:
    """Let the client send what it announced, since few read an answer before they have; then refuse it."""
    more = headers.get(b"expect", b"").lower() != b"100-continue"
    while more:
        _, more = await _chunk(receive)
    raise _TooLong


async def _chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise Disconnected
    return message["body"], message["more_body"]


def _declared(headers: Mapping[bytes, bytes]) -> int:
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0
