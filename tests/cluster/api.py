"""The API server as the stand-ins of a test cluster use it: plain objects, all rights, patience when it restarts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from urllib.parse import urlencode

import urllib3
from kubernetes import client as k8s

from tests.kubeflow.store import Object, Refusal

PATIENCE = 60.0
WATCH_SECONDS = 20
_MERGE = "application/merge-patch+json"
_PASSING = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE})


class Api:
    """Requests to one API server.

    Args:
        client: Where it is and who asks.
        patience: Seconds for which a server that does not answer is asked again.
    """

    def __init__(self, client: k8s.ApiClient, patience: float = PATIENCE) -> None:
        self._client, self._patience = client, patience

    @property
    def host(self) -> str:
        """Where it is."""
        return str(self._client.configuration.host)

    def get(self, path: str, **query: str) -> Object:
        """Read an object or a list of them."""
        return self.request("GET", path, query=query)

    def create(self, path: str, item: Object, **query: str) -> Object:
        """Create an object in the collection at `path`."""
        return self.request("POST", path, item, query)

    def patch(self, path: str, change: Object) -> Object:
        """Merge a change into the object at `path`."""
        return self.request("PATCH", path, change)

    def delete(self, path: str, **options: object) -> Object | None:
        """Delete an object; return it, or None where it was gone already."""
        try:
            return self.request("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", **options})
        except Refusal as refusal:
            if refusal.code in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                return None
            raise

    def request(
        self, method: str, path: str, body: Object | None = None, query: Mapping[str, str] | None = None
    ) -> Object:
        """Make a request, again while the server does not answer.

        Raises:
            Refusal: The server refused it.
        """
        deadline = time.monotonic() + self._patience
        while True:
            try:
                with self._send(method, path, body, query or {}, 30) as response:
                    data = response.read()
            except (urllib3.exceptions.HTTPError, OSError):
                if time.monotonic() > deadline:
                    raise
            else:
                if response.status < HTTPStatus.BAD_REQUEST:
                    answer: Object = json.loads(data)
                    return answer
                if response.status not in _PASSING or time.monotonic() > deadline:
                    raise _refusal(response.status, data)
            time.sleep(0.1)

    def watch(self, path: str, stop: threading.Event, **query: str) -> Iterator[tuple[str, Object]]:
        """Yield every change from now on, what is there first, each object ADDED once and DELETED once."""
        known: dict[str, Object] = {}
        while not stop.is_set():
            try:
                yield from self._listed(path, query, known)
                version = self.version
                while not stop.is_set():
                    for kind, item in self._streamed(path, {**query, "resourceVersion": version}):
                        version = item["metadata"]["resourceVersion"]
                        if kind != "BOOKMARK":
                            yield _noted(kind, item, known)
            except (urllib3.exceptions.HTTPError, OSError, Refusal):
                stop.wait(0.1)

    def _listed(self, path: str, query: Mapping[str, str], known: dict[str, Object]) -> Iterator[tuple[str, Object]]:
        listing = self.request("GET", path, query=query)
        self.version = listing["metadata"]["resourceVersion"]
        present = {item["metadata"]["uid"]: item for item in listing["items"]}
        for uid in [uid for uid in known if uid not in present]:
            yield "DELETED", known.pop(uid)
        for item in present.values():
            yield _noted("MODIFIED", item, known)

    def _streamed(self, path: str, query: Mapping[str, str]) -> Iterator[tuple[str, Object]]:
        options = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        with self._send("GET", path, None, {**query, **options}, WATCH_SECONDS + 5) as response:
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise _refusal(response.status, response.read())
            rest = b""
            for chunk in response.stream(amt=65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for event in (json.loads(line) for line in lines if line):
                    if event["type"] == "ERROR":
                        raise _refusal(event["object"]["code"], json.dumps(event["object"]).encode())
                    yield event["type"], event["object"]

    def _send(
        self, method: str, path: str, body: Object | None, query: Mapping[str, str], seconds: float
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "Content-Type": _MERGE if method == "PATCH" else "application/json"}
        self._client.update_params_for_auth(headers, [], ["BearerToken"])
        url = f"{self._client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        response: urllib3.BaseHTTPResponse = self._client.rest_client.pool_manager.request(
            method,
            url,
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            timeout=urllib3.Timeout(connect=5, read=seconds),
            retries=False,
            preload_content=False,
        )
        return response


def _noted(kind: str, item: Object, known: dict[str, Object]) -> tuple[str, Object]:
    uid = item["metadata"]["uid"]
    if kind == "DELETED":
        known.pop(uid, None)
        return kind, item
    fresh = uid not in known
    known[uid] = item
    return "ADDED" if fresh else "MODIFIED", item


def _refusal(status: int, data: bytes) -> Refusal:
    try:
        answer = json.loads(data)
        return Refusal(status, str(answer.get("reason", "")), str(answer.get("message", "")))
    except ValueError:
        return Refusal(status, "", data.decode(errors="replace"))
