"""Katib's part on a real API server, played by the imitation of the emulated world: its controller is not built.

The imitation asks for a store and for logs; here the store is the API server and the logs are the kubelet's. The Jobs
and TFJobs that it makes for its trials are run by the real Job controller and the real Training Operator.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

from tests.cluster.api import Api
from tests.cluster.logs import ContainerLog, Logs
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.katib import EXPERIMENTS, TRIALS, Katib
from tests.kubeflow.operators import JOBS, TFJOBS
from tests.kubeflow.store import Event, Key, Object, Refusal

_KINDS: dict[Key, tuple[str, str]] = {
    EXPERIMENTS: ("v1beta1", "Experiment"),
    TRIALS: ("v1beta1", "Trial"),
    TFJOBS: ("v1", "TFJob"),
    JOBS: ("v1", "Job"),
}


class ApiStore:
    """The store of the emulated world, kept by an API server."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(self, key: Key, namespace: str, item: Object) -> Object:
        """Create an object, with what the imitation leaves out and a real server asks for."""
        version, kind = _KINDS[key]
        item = {"apiVersion": f"{key[0]}/{version}", "kind": kind, **copy.deepcopy(item)}
        for owner in item["metadata"].get("ownerReferences", []):
            version = next(version for version, kind in _KINDS.values() if kind == owner["kind"])
            owner["apiVersion"] = f"kubeflow.org/{version}"
        for template in _templates(item):
            for container in template["spec"]["containers"]:
                container.setdefault("image", "collector")
        return self._api.create(path(key, namespace), item)

    def get(self, key: Key, namespace: str, name: str) -> Object:
        """Read an object."""
        return self._api.get(path(key, namespace, name))

    def select(self, key: Key, namespace: str, chosen: Callable[[Object], bool]) -> tuple[list[Object], int]:
        """Read the objects that are chosen."""
        listing = self._api.get(path(key, namespace))
        return [item for item in listing["items"] if chosen(item)], int(listing["metadata"]["resourceVersion"])

    def set_status(self, key: Key, namespace: str, name: str, **status: object) -> bool:
        """Merge fields into an object's status; return whether the object was there."""
        try:
            self._api.patch(f"{path(key, namespace, name)}/status", {"status": status})
        except Refusal as refusal:
            if refusal.code == HTTPStatus.NOT_FOUND:
                return False
            raise
        return True


class KatibOnApi:
    """The imitation at work in one namespace.

    Args:
        api: The API server.
        namespace: Where.
        logs: What the trials print.
    """

    def __init__(self, api: Api, namespace: str, logs: Logs) -> None:
        self._api, self._namespace, self._logs = api, namespace, logs
        self.store = ApiStore(api)
        self.passes_over = False
        self._stop = threading.Event()
        self._katib = Katib(cast(Emulator, self))

    @property
    def logs(self) -> dict[tuple[str, str], ContainerLog]:
        """The logs of the namespace."""
        return self._logs.of(self._namespace)

    def start(self) -> None:
        """Act on changes from now on."""
        for key in (EXPERIMENTS, JOBS, TFJOBS):
            threading.Thread(target=self._follow, args=(key,), daemon=True).start()

    def stop(self) -> None:
        """Act no more, and let go of trials that have not ended: Python waits for their threads before it exits."""
        self._stop.set()
        self._katib.close()

    def _follow(self, key: Key) -> None:
        for kind, item in self._api.watch(path(key, self._namespace), self._stop):
            if self._stop.is_set():
                return
            if key == EXPERIMENTS and self.passes_over:
                continue
            self._katib.handle(Event(int(item["metadata"]["resourceVersion"]), kind, key, item))


def path(key: Key, namespace: str, name: str = "") -> str:
    """Return the URL path of a kind in a namespace, or of one object."""
    collection = f"/apis/{key[0]}/{_KINDS[key][0]}/namespaces/{namespace}/{key[1]}"
    return f"{collection}/{name}" if name else collection


def _templates(item: Object) -> list[Object]:
    spec = item["spec"]
    replicas = spec.get("tfReplicaSpecs") or ({"Job": spec} if "template" in spec else {})
    return [replica["template"] for replica in replicas.values()]
