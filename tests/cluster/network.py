"""Names and addresses of a cluster without a network: pods live on the loopback, each with an address of its own."""

from __future__ import annotations

import itertools
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster.api import Api
from tests.cluster.processes import free_ports
from tests.kubeflow.store import Object, Refusal

_CLAIM_PORT = 6789
_REPLICA = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+(?:\.svc)?:\d+")
_SERVICE = re.compile(r"(?P<name>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(\.cluster\.local)?")


class Network:
    """Addresses of pods, and of the services in front of them.

    Args:
        api: Where services and pods are looked up.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._addresses: dict[str, str] = {}
        self._replicas: dict[tuple[str, str], str] = {}
        self._numbers = itertools.count(1)
        self._block, self._claim = _own_block()
        self._lock = threading.Lock()

    def address(self, uid: str) -> str:
        """Return a pod's own address."""
        with self._lock:
            if uid not in self._addresses:
                number = next(self._numbers)
                self._addresses[uid] = f"127.{self._block}.{number // 250}.{number % 250 + 1}"
            return self._addresses[uid]

    def rewrite(self, tf_config: str, namespace: str) -> str:
        """Give each replica in a TF_CONFIG a port of this machine, as TensorFlow listens on all addresses."""
        with self._lock:
            for name in _REPLICA.findall(tf_config):
                if (namespace, name) not in self._replicas:
                    self._replicas[namespace, name] = f"127.0.0.1:{free_ports(1)[0]}"
            return _REPLICA.sub(lambda match: self._replicas[namespace, match[0]], tf_config)

    @contextmanager
    def names(self) -> Iterator[None]:
        """Resolve the names of services in this process: what DNS and kube-proxy do."""
        real = socket.getaddrinfo

        def resolve(host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
            match = _SERVICE.fullmatch(host) if isinstance(host, str) else None
            if match is None:
                return real(host, port, *args, **options)
            return real(*self.endpoint(match["namespace"], match["name"], int(port)), *args, **options)

        socket.getaddrinfo = resolve
        try:
            yield
        finally:
            socket.getaddrinfo = real

    def endpoint(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """Return address and port of a ready pod behind a service."""
        space = f"/api/v1/namespaces/{namespace}"
        try:
            service = self._api.get(f"{space}/services/{name}")
        except Refusal as refusal:
            raise socket.gaierror(socket.EAI_NONAME, refusal.message) from refusal
        selector = ",".join(f"{key}={value}" for key, value in service["spec"]["selector"].items())
        ready = [pod for pod in self._api.get(f"{space}/pods", labelSelector=selector)["items"] if _is_ready(pod)]
        target = next((entry["targetPort"] for entry in service["spec"]["ports"] if entry["port"] == port), None)
        if not ready or target is None:
            raise ConnectionRefusedError(f"no pod of {name} is ready on port {port}")
        return ready[-1]["status"]["podIP"], int(target)


def _own_block() -> tuple[int, socket.socket]:
    """Return a number between 1 and 254, ours alone on this machine while the socket is open.

    Servers in Python let others listen where they do, and would share out our requests among all test clusters.
    """
    for number in range(1, 255):
        claim = socket.socket()
        try:
            claim.bind((f"127.{number}.255.254", _CLAIM_PORT))
        except OSError:
            claim.close()
        else:
            return number, claim
    raise OSError("all blocks of loopback addresses are taken by other test clusters")


def _is_ready(pod: Object) -> bool:
    conditions = {entry["type"]: entry["status"] for entry in pod.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
