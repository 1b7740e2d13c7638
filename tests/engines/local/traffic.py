"""Clients that ask a service all the time, and remember for every request when it was sent and what came back."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

SECONDS = 10  # after which a request counts as failed
PAUSE = 0.005


@dataclass(frozen=True)
class Request:
    """One request and its end, by the monotonic clock."""

    began: float
    ended: float
    answer: NDArray[np.float64] | None
    failure: str = ""


class Traffic:
    """Steady load over HTTP.

    Args:
        port: The service's port on this machine.
        path: Where to ask.
        body: What to ask; one instance.
        keep_alive: Clients that hold their connection.
        anew: Clients that open one for every request.
    """

    def __init__(self, port: int, path: str, body: bytes, keep_alive: int = 4, anew: int = 1) -> None:
        self._port, self._path, self._body = port, path, body
        self._stop = threading.Event()
        self._kept: list[list[Request]] = []
        kinds = [True] * keep_alive + [False] * anew
        self._threads = [threading.Thread(target=self._ask, args=(self._new_list(), kept)) for kept in kinds]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * SECONDS)

    @property
    def requests(self) -> list[Request]:
        """All requests that have ended."""
        return sorted((request for each in self._kept for request in each), key=lambda request: request.began)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile of the latency, in milliseconds."""
        return float(np.percentile([request.ended - request.began for request in self.requests], 99) * 1000)

    def wait_for(self, count: int) -> None:
        """Let so many more requests end."""
        wanted, deadline = len(self.requests) + count, time.monotonic() + 30
        while len(self.requests) < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _new_list(self) -> list[Request]:
        self._kept.append([])
        return self._kept[-1]

    def _ask(self, requests: list[Request], keep_alive: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        headers = {} if keep_alive else {"connection": "close"}
        while not self._stop.wait(PAUSE):
            began, answer, failure = time.monotonic(), None, ""
            try:
                connection.request("POST", self._path, self._body, headers)
                answer = _read(connection.getresponse())
            except (OSError, http.client.HTTPException, ValueError) as error:
                failure = repr(error)
                connection.close()
            requests.append(Request(began, time.monotonic(), answer, failure))


def _read(response: http.client.HTTPResponse) -> NDArray[np.float64]:
    text = response.read()
    if response.status != 200:
        raise ValueError(f"{response.status} {text[:200]!r}")
    content: Any = json.loads(text)
    return np.asarray(content["predictions"][0], np.float64)
