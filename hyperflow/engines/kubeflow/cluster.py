"""Talk to the API server: every request is bounded in time, outlives a short outage and says plainly what failed.

The `kubernetes` package finds the server, its certificates and our credentials; objects stay plain data.
"""

from __future__ import annotations

import copy
import json
import os
import random
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config

from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.resources import POD, Resource
from hyperflow.errors import HyperflowError, Unavailable

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 30.0
_LONGEST_PAUSE = 10.0
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})

Response = urllib3.BaseHTTPResponse


class ApiError(HyperflowError):
    """The API server refused a request; retrying would not help."""

    def __init__(self, method: str, path: str, status: int, reason: str, message: str) -> None:
        self.status, self.reason, self.message = status, reason, message
        what = f"the API server refused {method} {path}"
        super().__init__(what, f"{status} {reason}: {message}".strip(), _remedy(status, path))


class TransientError(Exception):
    """A request failed in a way that a later one may not; `retry_after` is the server's wish in seconds."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Backoff:
    """Pauses that grow, with chance in them so that many clients do not return at one moment."""

    def __init__(self, first: float = 0.2) -> None:
        self._first, self._failures = first, 0

    def reset(self) -> None:
        """Start again with the shortest pause."""
        self._failures = 0

    def pause(self, error: TransientError, stop: threading.Event | None = None) -> None:
        """Wait before the next attempt, as long as the server asked for or longer each time."""
        longest = min(_LONGEST_PAUSE, self._first * 2**self._failures)
        self._failures += 1
        seconds = max(error.retry_after, longest * random.uniform(0.5, 1.0))
        (stop or threading.Event()).wait(seconds)


class Cluster:
    """One namespace of a cluster.

    Args:
        namespace: Where to work; empty means this pod's own, or the kubeconfig context's.
        patience: Seconds for which an API server that does not answer is asked again.

    Raises:
        Unavailable: There is neither a pod's service account nor a kubeconfig.
    """

    def __init__(self, namespace: str = "", patience: float = 900.0) -> None:
        self.patience = patience
        self._lock = threading.Lock()
        self._client = _load()
        self.namespace = namespace or _own_namespace()

    def with_patience(self, seconds: float) -> Cluster:
        """Return this cluster for requests that have less time, over the connections that are open already."""
        other = copy.copy(self)
        other.patience = seconds
        return other

    def get(self, resource: Resource, name: str, namespace: str = "") -> Manifest | None:
        """Read one object, or None where there is none."""
        return self._found("GET", resource.path(namespace or self.namespace, name))

    def list(self, resource: Resource, namespace: str = "", **query: str) -> Manifest:
        """Read all objects that the selectors in `query` choose, as the list object with its resourceVersion."""
        return self.request("GET", resource.path(namespace or self.namespace), query=query)

    def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Create an object.

        Raises:
            ApiError: Refused; `status` is 409 where the name is taken.
        """
        return self.request("POST", resource.path(self.namespace), manifest)

    def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Replace an object by a changed copy of what was read.

        Raises:
            ApiError: Refused; `status` is 409 where somebody else was faster.
        """
        return self.request("PUT", resource.path(self.namespace, manifest["metadata"]["name"]), manifest)

    def delete(self, resource: Resource, name: str, uid: str = "") -> bool:
        """Delete an object, and in the background what it owns; return whether it was there."""
        body: Manifest = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        return self._found("DELETE", resource.path(self.namespace, name), body) is not None

    def log(self, pod: str, container: str, tail: int | None = None) -> str:
        """Read a container's log, or nothing where the pod or its log is gone."""
        query = {"container": container} | ({} if tail is None else {"tailLines": str(tail)})
        try:
            return self._retrying("GET", _log_path(self.namespace, pod), query=query).decode(errors="replace")
        except ApiError as error:
            if error.status in (400, 404):
                return ""
            raise

    def follow_log(self, pod: str, container: str, read_seconds: float) -> Response:
        """Open a container's log as a stream, from its beginning."""
        query = {"container": container, "follow": "true"}
        return self.stream(_log_path(self.namespace, pod), query, read_seconds)

    def request(
        self, method: str, path: str, body: Manifest | None = None, query: Mapping[str, str] | None = None
    ) -> Manifest:
        """Make one request, again where that may help, and return the answer's JSON.

        Raises:
            ApiError: The server refused it.
            Unavailable: The server did not answer for as long as our patience lasts.
        """
        answer: Manifest = json.loads(self._retrying(method, path, body, query))
        return answer

    def stream(self, path: str, query: Mapping[str, str], read_seconds: float) -> Response:
        """Open a stream, once.

        Raises:
            ApiError: The server refused it.
            TransientError: It failed in a way that may pass.
        """
        used = self._client
        response = self._send(used, "GET", path, None, query, read_seconds)
        if response.status >= HTTPStatus.BAD_REQUEST:
            with response:
                self._fail(used, "GET", path, response, _read(response))
        return response

    def _found(self, method: str, path: str, body: Manifest | None = None) -> Manifest | None:
        try:
            return self.request(method, path, body)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND or (method == "DELETE" and error.status == HTTPStatus.CONFLICT):
                return None
            raise

    def _retrying(
        self, method: str, path: str, body: Manifest | None = None, query: Mapping[str, str] | None = None
    ) -> bytes:
        deadline, backoff = time.monotonic() + self.patience, Backoff()
        while True:
            try:
                return self._once(method, path, body, query or {})
            except TransientError as error:
                if time.monotonic() >= deadline:
                    remedy = "see whether the API server is up and can be reached from here, then run it again"
                    raise Unavailable(f"the API server did not answer {method} {path}", str(error), remedy) from error
                backoff.pause(error)

    def _once(self, method: str, path: str, body: Manifest | None, query: Mapping[str, str]) -> bytes:
        used = self._client
        with self._send(used, method, path, body, query, _READ_SECONDS) as response:
            data = _read(response)
        if response.status >= HTTPStatus.BAD_REQUEST:
            self._fail(used, method, path, response, data)
        return data

    def _send(
        self, api: client.ApiClient, method: str, path: str, body: Manifest | None, query: Mapping[str, str],
        read_seconds: float,
    ) -> Response:  # fmt: skip
        headers = {"Accept": "application/json, */*", "User-Agent": "hyperflow"}
        api.update_params_for_auth(headers, [], ["BearerToken"])
        url = f"{api.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response: Response = api.rest_client.pool_manager.request(
                method, url, body=None if body is None else json.dumps(body).encode(), headers=headers,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=read_seconds), retries=False,
                preload_content=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(f"no answer from {api.configuration.host}: {error}") from error
        return response

    def _fail(self, used: client.ApiClient, method: str, path: str, response: Response, data: bytes) -> None:
        """Raise what a failed answer means; a token that was refused is read anew for the next attempt."""
        status = response.status
        reason, message = _status_of(data)
        if status == HTTPStatus.UNAUTHORIZED and self._renew(used):
            raise TransientError("the token was refused; another has been read")
        if status in _TRANSIENT:
            raise TransientError(f"{status} {reason}: {message}", _seconds(response.headers.get("Retry-After")))
        raise ApiError(method, path, status, reason, message)

    def _renew(self, used: client.ApiClient) -> bool:
        """Read the credentials again; return whether they are others than those just used."""
        with self._lock:
            if self._client is not used:
                return True  # another thread was faster
            before = self._client.configuration.api_key.get("authorization")
            fresh = _load()
            if fresh.configuration.api_key.get("authorization") == before:
                return False
            self._client = fresh
            return True


def _load() -> client.ApiClient:
    configuration = client.Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
    except config.ConfigException as error:
        remedy = "run this in a pod with a service account, or give a kubeconfig (KUBECONFIG)"
        raise Unavailable("no Kubernetes cluster is configured", str(error), remedy) from error
    return client.ApiClient(configuration)


def _own_namespace() -> str:
    if _NAMESPACE_FILE.is_file():
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    try:
        _, context = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
    except config.ConfigException:
        return "default"
    namespace: str = context["context"].get("namespace") or "default"
    return namespace


def _log_path(namespace: str, pod: str) -> str:
    return POD.path(namespace, pod, "log")


def _read(response: Response) -> bytes:
    try:
        return response.read()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise TransientError(f"the answer broke off: {error}") from error


def _status_of(data: bytes) -> tuple[str, str]:
    """Read reason and message of a Status object; a proxy in between may answer with anything else."""
    try:
        status: Any = json.loads(data)
    except ValueError:
        return "", data.decode(errors="replace")[:300]
    if not isinstance(status, dict):
        return "", str(status)[:300]
    return str(status.get("reason") or ""), str(status.get("message") or "")


def _seconds(header: str | None) -> float:
    try:
        return min(float(header or 0), 60.0)
    except ValueError:
        return 0.0


def _remedy(status: int, path: str) -> str:
    if status == HTTPStatus.FORBIDDEN:
        return "apply manifests/ to the namespace, or ask its admin to; `hyperflow preflight` lists each missing right"
    if status == HTTPStatus.UNAUTHORIZED:
        return "log in to the cluster again, or look at the pod's service account"
    if status == HTTPStatus.NOT_FOUND:
        return f"install what serves {path}; `hyperflow preflight` lists what is missing"
    return ""
