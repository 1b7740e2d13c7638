"""What is asked and answered, kept for a later look where the operator wants that, in the form of KServe's own logger.

CloudEvents: to a URL in binary form, as KServe's agent posts them; into a folder as lines of JSON. A thread of its own
writes them. Where it cannot follow, they are dropped and counted; no answer waits for it.
"""

from __future__ import annotations

import base64
import contextlib
import os
import queue
import random
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from hyperflow import client
from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.serving import logs

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
WAITING = 256
"""Most requests, with their answers, that wait to be written."""

WAITING_BYTES = 32 * 2**20
"""Most bytes that they have together."""

_LAST_SECONDS = 3.0
_POST_SECONDS = 5.0
_JSON = "application/json"


@dataclass(frozen=True)
class Event:
    """One CloudEvent.

    Args:
        attributes: Its context attributes, extensions too.
        content_type: The type of its data.
        data: A request's body, or an answer's.
    """

    attributes: Mapping[str, str]
    content_type: str
    data: bytes


class Sink(Protocol):
    """Where events go."""

    def write(self, event: Event) -> bool:
        """Write one, and tell whether it was taken."""


@dataclass(frozen=True)
class _Pair:
    events: tuple[Event, Event]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", sum(len(event.data) for event in self.events))


class PayloadLog:
    """Keeps a share of the requests and their answers.

    Args:
        model_name: The model, which is the InferenceService's name too.
        sink: Where they go.
        sample: Share of the requests kept, 0 to 1.
        count: Told `logged`, `dropped` or `failed`, once for a request with its answer.
    """

    def __init__(self, model_name: str, sink: Sink, sample: float, count: Callable[[str], None]) -> None:
        namespace = os.environ.get("POD_NAMESPACE", "")
        self._sink, self._sample, self._count = sink, sample, count
        self._about = {"inferenceservicename": model_name, "component": "predictor", "endpoint": "default"}
        self._about |= {"namespace": namespace} if namespace else {}
        self._source = f"http://{os.environ.get('HOSTNAME', 'localhost')}/"
        self._waiting: queue.Queue[_Pair | None] = queue.Queue(WAITING)
        self._bytes, self._lock = 0, threading.Lock()
        self._thread = threading.Thread(target=self._write, name="payloads", daemon=True)
        self._thread.start()

    def offer(self, request: tuple[bytes, str], response: tuple[bytes, str], given_id: str = "") -> None:
        """Keep a request and its answer, if it is drawn and there is room; never wait.

        Args:
            request: Body and content type.
            response: The same of the answer.
            given_id: The client's own id of the event, or empty.
        """
        if random.random() >= self._sample:
            return
        event_id, time = given_id or str(uuid.uuid4()), datetime.now(UTC).isoformat()
        pair = _Pair((self._event(REQUEST, event_id, time, *request), self._event(RESPONSE, event_id, time, *response)))
        with self._lock:
            fits = self._bytes + pair.size <= WAITING_BYTES
            self._bytes += pair.size if fits else 0
        try:
            if not fits:
                raise queue.Full
            self._waiting.put_nowait(pair)
        except queue.Full:
            if fits:
                self._release(pair)
            self._count("dropped")

    def close(self) -> None:
        """Write what waits, if that is possible within a few seconds, and end."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_LAST_SECONDS)
        self._thread.join(_LAST_SECONDS)

    def _event(self, kind: str, event_id: str, time: str, data: bytes, content_type: str) -> Event:
        context = {"specversion": "1.0", "id": event_id, "type": kind, "source": self._source, "time": time}
        return Event({**context, **self._about}, content_type, data)

    def _write(self) -> None:
        while (pair := self._waiting.get()) is not None:
            try:
                taken = all(self._sink.write(event) for event in pair.events)
            except Exception as error:  # whatever goes wrong with one, the next is tried
                logs.warning("a payload was not logged", why=f"{type(error).__name__}: {error}")
                taken = False
            self._release(pair)
            self._count("logged" if taken else "failed")

    def _release(self, pair: _Pair) -> None:
        with self._lock:
            self._bytes -= pair.size


def sink(place: str, most_bytes: int) -> Sink:
    """Return the sink of a folder, which is made, or of a URL.

    Args:
        place: Folder, or `http://` or `https://` URL.
        most_bytes: Most bytes that the folder's payloads may have together.

    Raises:
        InvalidParameter: It is a URL of another kind.
        Unavailable: The folder cannot be written.
    """
    if "://" not in place:
        return Folder(Path(place), most_bytes)
    if not place.startswith(("http://", "https://")):
        raise InvalidParameter("log_payloads", place, "a folder, or a URL with http:// or https://")
    client.check_url("log_payloads", place)
    return Url(place)


class Url:
    """Posts events, in binary form, as KServe's agent does.

    Args:
        url: Where to.
    """

    def __init__(self, url: str) -> None:
        import urllib3

        self._url, self._pool = url, urllib3.PoolManager(maxsize=1, retries=False, timeout=_POST_SECONDS)

    def write(self, event: Event) -> bool:
        """Post one; what is not answered with a 2xx was not taken."""
        headers = {f"ce-{name}": value for name, value in event.attributes.items()}
        answer = self._pool.request(
            "POST", self._url, body=event.data, headers={**headers, "content-type": event.content_type}, redirect=False
        )
        return 200 <= answer.status < 300


class Folder:
    """Appends events as lines of JSON (CloudEvents' structured form) to a file of this process's own.

    Args:
        folder: The folder.
        most_bytes: Most bytes of all payloads in it; what is over is not taken.

    Raises:
        Unavailable: It cannot be written.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        name = f"payloads-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._left = most_bytes - sum(each.stat().st_size for each in folder.glob("payloads-*.jsonl"))
            self._file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            what = f"payloads cannot be logged into {folder}"
            raise Unavailable(what, str(error), "give --log_payloads a folder that can be written") from error

    def write(self, event: Event) -> bool:
        """Append one."""
        line = orjson.dumps({**event.attributes, "datacontenttype": event.content_type, **_data(event)}) + b"\n"
        if len(line) > self._left:
            return False
        self._left -= os.write(self._file, line)
        return True


def _data(event: Event) -> dict[str, Any]:
    if event.content_type == _JSON:
        return {"data": orjson.loads(event.data)}
    return {"data_base64": base64.b64encode(event.data).decode()}
