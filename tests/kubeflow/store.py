"""The objects of an emulated API server: versions, conflicts, owners, and the history that watches read."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str]
"""Group and plural, such as `kubeflow.org` and `tfjobs`; the group of the core is empty."""


class Refusal(Exception):
    """A request that the API server answers with an error status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    def body(self) -> Object:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        return {**status, "code": self.code, "reason": self.reason, "message": self.message}


@dataclass(frozen=True)
class Event:
    version: int
    type: str
    key: Key
    object: Object


class Store:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._objects: dict[tuple[Key, str, str], Object] = {}
        self._history: list[Event] = []
        self._version = 1
        self._forgotten = 0

    def create(self, key: Key, namespace: str, item: Object) -> Object:
        with self.changed:
            name = item["metadata"]["name"]
            if (key, namespace, name) in self._objects:
                raise Refusal(409, "AlreadyExists", f'{key[1]} "{name}" already exists')
            item = copy.deepcopy(item)
            item["metadata"] |= {
                "namespace": namespace,
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "creationTimestamp": now(),
            }
            self._objects[key, namespace, name] = item
            return self._record("ADDED", key, item)

    def get(self, key: Key, namespace: str, name: str) -> Object:
        with self.changed:
            try:
                return copy.deepcopy(self._objects[key, namespace, name])
            except KeyError:
                raise Refusal(404, "NotFound", f'{key[1]} "{name}" not found') from None

    def select(
        self, key: Key, namespace: str, chosen: Callable[[Object], bool] = lambda _: True
    ) -> tuple[list[Object], int]:
        with self.changed:
            items = [item for (k, ns, _), item in self._objects.items() if k == key and ns == namespace]
            return [copy.deepcopy(item) for item in items if chosen(item)], self._version

    def replace(self, key: Key, namespace: str, item: Object) -> Object:
        """Replace all but the status, which is a resource of its own."""
        with self.changed:
            name = item["metadata"]["name"]
            live = self.get(key, namespace, name)
            if item["metadata"].get("resourceVersion") not in (None, live["metadata"]["resourceVersion"]):
                raise Refusal(409, "Conflict", "the object has been modified; apply your changes to the latest version")
            item = copy.deepcopy(item)
            item["metadata"] = {**live["metadata"], **item["metadata"]}
            item.pop("status", None)
            if "status" in live:
                item["status"] = live["status"]
            if item.get("spec") != live.get("spec"):
                item["metadata"]["generation"] = live["metadata"]["generation"] + 1
            self._objects[key, namespace, name] = item
            return self._record("MODIFIED", key, item)

    def set_status(self, key: Key, namespace: str, name: str, **status: Any) -> bool:
        """Merge fields into an object's status, as a controller does; return whether the object was there.

        A field that is None is left out.
        """
        with self.changed:
            item = self._objects.get((key, namespace, name))
            if item is None:
                return False
            before = copy.deepcopy(item.get("status", {}))
            merged = {**before, **copy.deepcopy(status)}
            item["status"] = {name: value for name, value in merged.items() if value is not None}
            if item["status"] != before:
                self._record("MODIFIED", key, item)
            return True

    def delete(self, key: Key, namespace: str, name: str, uid: str | None = None) -> Object:
        """Delete an object and what it owns."""
        with self.changed:
            item = self.get(key, namespace, name)
            if uid not in (None, item["metadata"]["uid"]):
                raise Refusal(409, "Conflict", "the uid in the precondition does not match")
            del self._objects[key, namespace, name]
            self._record("DELETED", key, item)
            for (other, ns, owned_name), owned in list(self._objects.items()):
                owners = [owner["uid"] for owner in owned["metadata"].get("ownerReferences", [])]
                if item["metadata"]["uid"] in owners and (other, ns, owned_name) in self._objects:
                    self.delete(other, ns, owned_name)
            return item

    def forget(self) -> None:
        """Drop the history, as a compaction does: older versions are answered with 410 from here on."""
        with self.changed:
            self._history.clear()
            self._version += 1
            self._forgotten = self._version

    def since(self, version: int) -> tuple[list[Event], int]:
        """Return the events after a version, and the version now; call it with `changed` held."""
        if version < self._forgotten:
            raise Refusal(410, "Expired", f"too old resource version: {version} ({self._forgotten})")
        return [event for event in self._history if event.version > version], self._version

    def events(self, stop: threading.Event) -> Iterator[Event]:
        """Follow all changes from the beginning, as a controller does."""
        seen = 0
        while not stop.is_set():
            with self.changed:
                fresh = [event for event in self._history if event.version > seen]
                if not fresh:
                    self.changed.wait(0.2)
            for event in fresh:
                seen = event.version
                yield event

    def _record(self, kind: str, key: Key, item: Object) -> Object:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._history.append(Event(self._version, kind, key, copy.deepcopy(item)))
        self.changed.notify_all()
        return copy.deepcopy(item)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
