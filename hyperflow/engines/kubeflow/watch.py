"""See every change of some objects, and every line of some logs, as it happens, without asking in a loop.

`watch` lists once and then follows from the listed resourceVersion. A stream that drops is taken up where it was; one
that the server has forgotten (410) begins with a list again. `Feed` joins several watches and logs into one queue,
so that whoever waits, waits in one place.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

import urllib3

from hyperflow.engines.kubeflow.cluster import ApiError, Backoff, Cluster, Response, TransientError
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.resources import Resource
from hyperflow.errors import HyperflowError

SERVER_SECONDS = 290
"""How long the API server keeps a silent watch open; the client gives up a little later, on a half-open connection."""

_LOG_SECONDS = 600.0
_HASTE = 1.0
_BLOCK = 0.1  # seconds; a signal that comes just before the wait, or to another thread, would not end it


@dataclass(frozen=True)
class Change:
    """An object as it is now, or as it was when it went.

    Args:
        resource: Its kind.
        object: The object.
        deleted: Whether it is gone.
    """

    resource: Resource
    object: Manifest
    deleted: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a container's log.

    Args:
        pod: Uid of the pod.
        text: The line.
    """

    pod: str
    text: str


class Watch:
    """The objects of one kind that a selector chooses.

    Args:
        cluster: Where they are.
        resource: Their kind.
        selector: `fieldSelector` or `labelSelector`.
    """

    def __init__(self, cluster: Cluster, resource: Resource, **selector: str) -> None:
        self._cluster, self._resource, self._selector = cluster, resource, selector
        self._version = ""
        self._known: dict[str, Manifest] = {}
        self._stop = threading.Event()
        self._open: Response | None = None

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._stop.set()
        _shut(self._open)

    def __iter__(self) -> Iterator[Change]:
        backoff = Backoff()
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                if not self._version:
                    yield from self._list()
                for change in self._stream():
                    backoff.reset()
                    yield change
                if time.monotonic() - started < _HASTE:
                    raise TransientError("the watch was closed at once")
            except TransientError as error:
                backoff.pause(error, self._stop)
            except ApiError as error:
                if error.status != HTTPStatus.GONE:
                    raise
                self._version = ""

    def _list(self) -> Iterator[Change]:
        """Yield what is there now, and what went while nobody was looking."""
        listing = self._cluster.list(self._resource, **self._selector)
        self._version = listing["metadata"]["resourceVersion"]
        present = {item["metadata"]["uid"]: item for item in listing["items"]}
        gone = [item for uid, item in self._known.items() if uid not in present]
        self._known = present
        for item in gone:
            yield Change(self._resource, item, deleted=True)
        for item in present.values():
            yield Change(self._resource, item)

    def _stream(self) -> Iterator[Change]:
        query = {
            **self._selector,
            "watch": "true",
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(SERVER_SECONDS),
        }
        path = self._resource.path(self._cluster.namespace)
        self._open = self._cluster.stream(path, query, SERVER_SECONDS + 15.0)
        with self._open as response:
            for line in lines(response):
                change = self._change(json.loads(line))
                if self._stop.is_set():
                    return
                if change is not None:
                    yield change

    def _change(self, event: Manifest) -> Change | None:
        item = event["object"]
        if event["type"] == "ERROR":
            if item.get("code") == HTTPStatus.GONE:
                raise ApiError("GET", self._resource.plural, HTTPStatus.GONE, "Expired", item.get("message", ""))
            raise TransientError(f"the watch ended: {item.get('message')}")
        self._version = item["metadata"]["resourceVersion"]
        if event["type"] == "BOOKMARK":
            return None
        deleted = event["type"] == "DELETED"
        if deleted:
            self._known.pop(item["metadata"]["uid"], None)
        else:
            self._known[item["metadata"]["uid"]] = item
        return Change(self._resource, item, deleted)


class LogTail:
    """The log of one container from its first line, taken up again where the stream breaks off."""

    def __init__(self, cluster: Cluster, pod: Manifest, container: str) -> None:
        self._cluster, self._container = cluster, container
        self._name, self._uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        self._stop = threading.Event()
        self._open: Response | None = None

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._stop.set()
        _shut(self._open)

    def __iter__(self) -> Iterator[Line]:
        seen, backoff = 0, Backoff()
        while not self._stop.is_set():
            try:
                for number, text in enumerate(self._stream()):
                    if number >= seen:
                        seen += 1
                        yield Line(self._uid, text)
                return
            except TransientError as error:
                backoff.pause(error, self._stop)
            except ApiError as error:
                if error.status != HTTPStatus.BAD_REQUEST:
                    return  # the pod is gone, or we may not read its log; the work goes on without
                backoff.pause(TransientError(error.message), self._stop)  # its container is about to start

    def _stream(self) -> Iterator[str]:
        self._open = self._cluster.follow_log(self._name, self._container, _LOG_SECONDS)
        with self._open as response:
            for line in lines(response):
                if self._stop.is_set():
                    return
                yield line.decode(errors="replace")


class Feed:
    """Several watches and logs, followed in threads of their own and read in one place; use it in a `with`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._queue: queue.Queue[Change | Line | HyperflowError] = queue.Queue()
        self._sources: list[Watch | LogTail] = []

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        for source in self._sources:
            source.close()

    def watch(self, resource: Resource, needed: bool = True, **selector: str) -> None:
        """Follow the objects that a `fieldSelector` or `labelSelector` chooses; go on without where it is not needed.

        Args:
            resource: Their kind.
            needed: Whether a watch that is refused ends the work.
            selector: Which ones.
        """
        self._start(Watch(self._cluster, resource, **selector), needed)

    def follow_log(self, pod: Manifest, container: str) -> None:
        """Follow a container's log."""
        self._start(LogTail(self._cluster, pod, container), needed=True)

    def next(self, seconds: float) -> Change | Line | None:
        """Wait for what happens next, or None when the time is over.

        Raises:
            HyperflowError: A watch cannot go on.
        """
        ends = time.monotonic() + seconds
        while (item := self._get(min(_BLOCK, ends - time.monotonic()))) is None:
            if time.monotonic() >= ends:
                return None
        if isinstance(item, HyperflowError):
            raise item
        return item

    def _get(self, seconds: float) -> Change | Line | HyperflowError | None:
        try:
            return self._queue.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None

    def pending(self) -> bool:
        """Tell whether something has happened that was not read yet."""
        return not self._queue.empty()

    def _start(self, source: Watch | LogTail, needed: bool) -> None:
        self._sources.append(source)
        threading.Thread(target=_pump, args=(source, self._queue.put, needed), daemon=True).start()


def lines(response: Response) -> Iterator[bytes]:
    """Split a stream into lines as they arrive.

    Raises:
        TransientError: It broke off, or was silent for longer than the server should let it.
    """
    rest = b""
    try:
        for chunk in response.stream(amt=65536):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line for line in whole if line)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise TransientError(f"the stream broke off: {error}") from error
    if rest:
        yield rest


def _pump(source: Watch | LogTail, put: Callable[[Change | Line | HyperflowError], None], needed: bool) -> None:
    try:
        for item in source:
            put(item)
    except HyperflowError as error:
        if needed:
            put(error)


def _shut(response: Response | None) -> None:
    """Wake a thread that waits for the stream's next bytes."""
    if isinstance(response, urllib3.HTTPResponse):
        try:
            response.shutdown()
        except (OSError, ValueError, RuntimeError):
            return  # it had ended by itself
