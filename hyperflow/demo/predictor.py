"""Asks the model that the page is for: one address, set by the operator, and never longer than a visitor will wait."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from hyperflow import smoke
from hyperflow.demo.pictures import Pixels
from hyperflow.errors import InvalidParameter, JobFailed, JobTimeout
from hyperflow.specs import Endpoint, ModelRef, check_service_name

Probabilities = npt.NDArray[np.float64]
T = TypeVar("T")

SECONDS = 10.0
_METADATA_BYTES = 64 << 10
_AT_ONCE = 8


@dataclass(frozen=True)
class Metadata:
    """What the predictor says of its model.

    Args:
        name: The model's name.
        versions: Its versions.
        platform: What it was made with.
    """

    name: str
    versions: tuple[str, ...] = ()
    platform: str = ""


class Predictor:
    """The model behind one address.

    A socket's time limit starts anew with every byte, so calls run on threads of their own and
    are given up as a whole; a thread that is left behind counts against `_AT_ONCE` until it ends.

    Args:
        url: Base URL of the predictor.
        name: The model's name.
        seconds: How long an answer may take.

    Raises:
        InvalidParameter: The address is not one of a web server, or the name none of a service.
    """

    def __init__(self, url: str, name: str, seconds: float = SECONDS) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InvalidParameter("url", url, "the predictor's base URL, for example http://localhost:8080")
        check_service_name(name)
        self.name, self.seconds = name, seconds
        self._endpoint = Endpoint(name, url.rstrip("/"), ModelRef("/"))
        self._threads = ThreadPoolExecutor(_AT_ONCE, "ask")

    def ask(self, images: Pixels) -> Probabilities:
        """Return each image's probabilities of the classes.

        Args:
            images: uint8 [n, rows, columns].

        Raises:
            JobFailed: There is no answer, or none of finite numbers.
            JobTimeout: It takes too long.
        """
        rows = self._within(lambda: smoke.predict(self._endpoint, images))
        if len({len(row) for row in rows}) != 1:
            raise JobFailed(f"{self._endpoint.url} answers with rows of different lengths")
        answer = np.asarray(rows, dtype=np.float64)
        if not np.isfinite(answer).all():
            raise JobFailed(f"{self._endpoint.url} answers with numbers that are not finite")
        return answer

    def describe(self) -> Metadata:
        """Return what the predictor says of its model over the V2 protocol.

        Raises:
            JobFailed: It says nothing, or something else.
            JobTimeout: It takes too long.
        """
        answer = self._within(lambda: _get(f"{self._endpoint.url}/v2/models/{self.name}"))
        versions = answer.get("versions")
        return Metadata(
            name=str(answer.get("name", self.name)),
            versions=tuple(str(version) for version in versions) if isinstance(versions, list) else (),
            platform=str(answer.get("platform", "")),
        )

    def _within(self, call: Callable[[], T]) -> T:
        future: Future[T] = self._threads.submit(call)
        try:
            return future.result(self.seconds)
        except TimeoutError:
            future.cancel()
            raise JobTimeout(f"{self._endpoint.url} did not answer within {self.seconds:g} s") from None


def _get(url: str) -> dict[str, object]:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as response:
            answer = json.loads(response.read(_METADATA_BYTES))
    except (OSError, ValueError) as error:
        raise JobFailed(f"{url} gives no answer", str(error)) from error
    if not isinstance(answer, dict):
        raise JobFailed(f"{url} does not answer with a JSON object")
    return answer
