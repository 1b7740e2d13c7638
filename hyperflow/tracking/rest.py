"""What clients of servers beside a run share: short requests, a limit for all of them, errors that say what to do.

None is sent again: to try again is the caller's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, ClassVar

import urllib3

from hyperflow.client import Reply
from hyperflow.client.http import reason, send
from hyperflow.errors import Unavailable
from hyperflow.specs.addresses import check_url
from hyperflow.tracking.credentials import Credentials, Names

SECONDS = 10.0
"""How long one answer may take."""

_DONE = (HTTPStatus.OK, HTTPStatus.CREATED)
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class Api:
    """A server that is asked in JSON.

    Args:
        uri: Its base URL.
        credentials: Who asks; by default as the environment says.
        seconds: How long one answer may take.
        total: How long all answers together may take.

    Raises:
        InvalidParameter: The URI is no base URL, or the credentials cannot be sent.
    """

    kind: ClassVar[str]
    """What such a server is called."""

    a_kind: ClassVar[str]
    """The same with its article."""

    option: ClassVar[str]
    """What the user calls its address."""

    root: ClassVar[str]
    """Where its API is, below the address."""

    names: ClassVar[Names]
    """Where the credentials are."""

    def __init__(
        self, uri: str, credentials: Credentials | None = None, seconds: float = SECONDS, total: float = 300.0
    ) -> None:
        check_url(self.option, uri)
        self.uri = uri.rstrip("/")
        self._who = credentials or Credentials.from_environment(self.names)
        self._seconds, self._total = seconds, total
        self._deadline = time.monotonic() + total

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Turn an answer of another form than such a server's into an error of ours.

        Raises:
            Unavailable: There is one in the block.
        """
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            what = f"{self.uri} does not answer as {self.a_kind} does"
            why, remedy = f"{type(error).__name__}: {error}", "see whether the address is its API's"
            raise Unavailable(what, why, remedy) from error

    def send_json(
        self, method: str, path: str, body: object, allowed: Callable[[Reply], bool] = lambda reply: False
    ) -> dict[str, Any]:
        """Send an object, and return the one that is answered; an empty one where it is an error that is allowed."""
        content = json.dumps(body, allow_nan=False).encode()
        return self.content(self.ask(method, path, content, {"Content-Type": "application/json"}, allowed))

    def content(self, reply: Reply) -> dict[str, Any]:
        """Return what an answer holds; nothing where it is an error that was allowed.

        Raises:
            Unavailable: It is no JSON object.
        """
        if reply.status not in _DONE:
            return {}
        answer = _object(reply)
        if answer is None:
            what = f"{self.uri} does not answer as {self.a_kind} does"
            raise Unavailable(what, self._who.hide(reply.text), "give the address of its API, without a page's path")
        return answer

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None,
        allowed: Callable[[Reply], bool] = lambda reply: False,
    ) -> Reply:  # fmt: skip
        """Send one request; an error is an answer only where it is allowed.

        Raises:
            Unavailable: There is no answer in time, or it is an error.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            what = f"the {self.kind} {self.uri} is too slow"
            raise Unavailable(
                what, f"its answers took more than {self._total:g} s together", "see what it is busy with"
            )
        try:
            all_headers = {**(headers or {}), **self._who.headers}
            reply = send(method, f"{self.uri}/{self.root}/{path}", body, all_headers, min(left, self._seconds))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            why = self._who.hide(reason(error))
            raise Unavailable(f"the {self.kind} {self.uri} gives no answer", why, "see whether it runs") from error
        if reply.status in _DONE or allowed(reply):
            return reply
        raise self._refusal(path.partition("?")[0], reply)

    def _refusal(self, path: str, reply: Reply) -> Unavailable:
        """Explain an error that was answered."""
        what = f"the {self.kind} {self.uri} answers {reply.status} to {path}"
        why = self._who.hide(_message(reply))
        if reply.status in _REFUSED or reply.status in range(300, 400):
            remedy = f"set {self.names.shown}, of a user who may write there"
            return Unavailable(what, why or "it wants to know who asks", remedy)
        if reply.status == HTTPStatus.NOT_FOUND and not error_code(reply):
            return Unavailable(what, why, "give the address of its API, without a page's path")
        return Unavailable(what, why, "see the server's log")


def error_code(reply: Reply) -> str:
    """Return the code of an error that was answered, as the server names it; empty where it says none."""
    error = _object(reply) or {}
    return str(error.get("error_code") or error.get("code") or "")


def _message(reply: Reply) -> str:
    code = error_code(reply)
    return f"{code}: {(_object(reply) or {}).get('message', '')}"[:500] if code else reply.text


def _object(reply: Reply) -> dict[str, Any] | None:
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
