"""Asks the model that the page is for: one address, set by the operator, and never longer than a visitor will wait."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from hyperflow import client
from hyperflow.demo.pictures import Pixels
from hyperflow.errors import JobFailed, JobTimeout
from hyperflow.specs import Endpoint, ModelRef, check_service_name

Probabilities = npt.NDArray[np.float64]
T = TypeVar("T")

SECONDS = 10.0
_AT_ONCE = 8
_POD_PORT = 8080


@dataclass(frozen=True)
class Metadata:
    """What the predictor says of its model.

    Args:
        versions: Its versions.
        path: Where it lies on the volume, or empty where the predictor does not say.
        run_id: The run that made it, or empty.
        accuracy: Its accuracy on the test set, 0 to 1, or None.
    """

    versions: tuple[str, ...] = ()
    path: str = ""
    run_id: str = ""
    accuracy: float | None = None


class Predictor:
    """The model behind one address.

    A socket's time limit starts anew with every byte, so calls run on threads of their own and
    are given up as a whole; a thread that is left behind counts against `_AT_ONCE` until it ends.

    Args:
        url: Base URL of the predictor. Where it names no port and port 80 refuses, 8080 is tried: KServe can be set
            to make Services without an address of their own, and behind those the pods' own port is the only one.
        name: The model's name.
        seconds: How long an answer may take.

    Raises:
        InvalidParameter: The address is not one of a web server, or the name none of a service.
    """

    def __init__(self, url: str, name: str, seconds: float = SECONDS) -> None:
        client.check_url("url", url)
        check_service_name(name)
        self.name, self.seconds = name, seconds
        self._endpoint = Endpoint(name, url.rstrip("/"), ModelRef("/"))
        self._threads = ThreadPoolExecutor(_AT_ONCE, "ask")

    def ask(self, images: Pixels) -> Probabilities:
        """Return each image's probabilities of the classes.

        Args:
            images: uint8 [n, height, width] or [n, height, width, 3]; as many as one request carries are sent in one.

        Raises:
            JobFailed: There is no answer, or none of finite numbers.
            JobTimeout: It takes too long.
        """
        return np.asarray(self._within(lambda endpoint: _probabilities(endpoint, images)), dtype=np.float64)

    def explain(self, image: Pixels) -> npt.NDArray[np.float64]:
        """Return, for each number of a picture, how far the answer's score falls without it.

        Args:
            image: uint8 [rows, columns], or [rows, columns, 3].

        Raises:
            JobFailed: There is no answer, or none of finite numbers.
            JobTimeout: It takes too long.
        """
        found = self._within(lambda endpoint: client.explanation(endpoint, image))
        return np.asarray(found, dtype=np.float64).reshape(image.shape)

    def describe(self) -> Metadata:
        """Return what the predictor says of its model.

        Raises:
            JobFailed: It says nothing, or something else.
            JobTimeout: It takes too long.
        """
        return self._within(_describe)

    def _within(self, call: Callable[[Endpoint], T]) -> T:
        future: Future[T] = self._threads.submit(self._reach, call)
        try:
            return future.result(self.seconds)
        except TimeoutError:
            future.cancel()
            raise JobTimeout(f"{self._endpoint.url} did not answer within {self.seconds:g} s") from None

    def _reach(self, call: Callable[[Endpoint], T]) -> T:
        try:
            return call(self._endpoint)
        except JobFailed as error:
            parts = urlsplit(self._endpoint.url)
            if parts.scheme != "http" or parts.port or not _refused(error) or not _listens(parts.hostname, _POD_PORT):
                raise
            url = parts._replace(netloc=f"{parts.netloc}:{_POD_PORT}").geturl()
            self._endpoint = replace(self._endpoint, url=url)
            return call(self._endpoint)


def _probabilities(endpoint: Endpoint, images: Pixels) -> list[list[float]]:
    batch = client.images_a_request(images)
    starts = range(0, len(images), batch)
    return [row for start in starts for row in client.probabilities(endpoint, images[start : start + batch])]


def _describe(endpoint: Endpoint) -> Metadata:
    url = f"{endpoint.url}/v2/models/{endpoint.name}"
    reply = client.get(url, seconds=SECONDS)
    if reply.status == HTTPStatus.NOT_FOUND:  # TensorFlow Serving knows no V2
        url = f"{endpoint.url}/v1/models/{endpoint.name}"
        return _from_v1(client.content(url, client.get(url, seconds=SECONDS)))
    answer = client.content(url, reply)
    told, versions = answer.get("properties"), answer.get("versions")
    told = told if isinstance(told, dict) else {}
    accuracy = told.get("accuracy")
    return Metadata(
        versions=tuple(str(version) for version in versions) if isinstance(versions, list) else (),
        path=str(told.get("path", "")),
        run_id=str(told.get("run_id", "")),
        accuracy=float(accuracy) if isinstance(accuracy, int | float) and 0 <= accuracy <= 1 else None,
    )


def _from_v1(answer: dict[str, object]) -> Metadata:
    states = answer.get("model_version_status")
    known = [state for state in states if isinstance(state, dict)] if isinstance(states, list) else []
    return Metadata(tuple(str(state.get("version")) for state in known if state.get("state") == "AVAILABLE"))


def _refused(error: JobFailed) -> bool:
    return error.__cause__ is not None and isinstance(error.__cause__.__cause__, ConnectionRefusedError)


def _listens(host: str | None, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
