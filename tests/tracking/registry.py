"""What we use of the Model Registry's REST API, in memory and over real HTTP, by its OpenAPI description v1alpha3.

Bodies with a field that the description has not, or without one that it wants, are refused; a name is taken once; what
a PATCH does not send of the custom properties is gone. `tests/cluster/test_registry.py` has the same life on the real
server.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.tracking.mlflow import Answer

ROOT = "/api/model_registry/v1alpha3/"
VALUES: dict[str, tuple[str, Any]] = {
    "MetadataStringValue": ("string_value", str),
    "MetadataDoubleValue": ("double_value", (int, float)),
}
BASE = {"name": str, "description": str, "externalId": str, "customProperties": dict, "state": str}
KINDS: dict[str, tuple[dict[str, type], set[str]]] = {
    "registered_models": ({**BASE, "owner": str}, {"name"}),
    "versions": ({**BASE, "author": str, "registeredModelId": str}, {"name", "registeredModelId"}),
    "artifacts": (
        {**BASE, "artifactType": str, "uri": str, **dict.fromkeys(
            ("modelSourceKind", "modelSourceClass", "modelSourceGroup", "modelSourceId", "modelSourceName"), str
        )},
        {"artifactType"},
    ),
}  # fmt: skip
STATES = {"registered_models": ("LIVE", "ARCHIVED"), "versions": ("LIVE", "ARCHIVED"), "artifacts": ("LIVE", "UNKNOWN")}
FOUND = {"registered_model": "registered_models", "model_version": "versions", "model_artifact": "artifacts"}
MADE = re.compile(r"registered_models|registered_models/(\d+)/versions|model_versions/(\d+)/artifacts")


@dataclass
class ModelRegistry:
    """The server."""

    url: str = ""
    authorization: str = ""
    seconds: float = 0.0
    failing: str = ""
    """Paths that contain this are answered with 500."""
    instead: str = ""
    asked: list[str] = field(default_factory=list)
    held: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    """By kind and id; `parent` is the id above."""
    before_make: Any = None
    """Called once, as something is about to be made: who else does so at that moment."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def changes(self) -> list[str]:
        """The requests that change something."""
        return [each for each in self.asked if not each.startswith("GET")]

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, authorization: str) -> Answer:
        time.sleep(self.seconds)
        self.asked.append(f"{method} {path}")
        if authorization != self.authorization:
            return 401, {"code": "Unauthorized", "message": f"You sent {authorization!r}"}
        if self.failing and self.failing in path:
            return 500, {"code": "Internal Server Error", "message": "the database is gone"}
        if not path.startswith(ROOT):
            return 404, {}
        name, content = path.removeprefix(ROOT), json.loads(body) if body else {}
        if method == "POST" and self.before_make:
            meanwhile, self.before_make = self.before_make, None
            meanwhile()
        with self.lock:
            return self._answer(method, name, query, content)

    def _answer(self, method: str, name: str, query: dict[str, str], content: dict[str, Any]) -> Answer:
        if method == "GET" and name in FOUND:
            return self._find(FOUND[name], query)
        if method == "POST" and (match := MADE.fullmatch(name)):
            return self._make(name.rpartition("/")[2], next(filter(None, match.groups()), ""), content)
        if method == "PATCH" and (match := re.fullmatch(r"model_versions/(\d+)", name)):
            return self._change(match[1], content)
        return 404, {}

    def _find(self, kind: str, query: Mapping[str, str]) -> Answer:
        wanted = {"name": query["name"], "parent": query.get("parentResourceId", "")}
        found = [each for each in self.held[kind].values() if wanted.items() <= each.items()]
        return (200, _shown(found[0])) if found else (404, {"code": "Not Found", "message": f"no {kind} found"})

    def _make(self, kind: str, parent: str, content: dict[str, Any]) -> Answer:
        known, needed = KINDS[kind]
        if refused := _refused(kind, content, known) or ", ".join(needed - content.keys()):
            return 400, {"code": "Bad Request", "message": refused}
        if self._find(kind, {"name": content["name"], "parentResourceId": parent})[0] == 200:
            return 409, {"code": "Conflict", "message": f"{content['name']} already exists"}
        made = str(1 + sum(map(len, self.held.values())))
        self.held[kind][made] = {"state": "LIVE", "customProperties": {}, **content, "id": made, "parent": parent}
        return 201, _shown(self.held[kind][made])

    def _change(self, version: str, content: dict[str, Any]) -> Answer:
        if version not in self.held["versions"]:
            return 404, {"code": "Not Found", "message": "no model version found"}
        known = {name: kind for name, kind in KINDS["versions"][0].items() if name not in ("name", "registeredModelId")}
        if refused := _refused("versions", content, known):
            return 400, {"code": "Bad Request", "message": refused}
        self.held["versions"][version] |= content
        return 200, _shown(self.held["versions"][version])


def _shown(held: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in held.items() if name != "parent"}


def _refused(kind: str, content: Mapping[str, Any], known: Mapping[str, type]) -> str:
    """Say what the description has against a body, or nothing."""
    for name, value in content.items():
        if name not in known or not isinstance(value, known[name]):
            return f"{name} is unknown, or of another type"
    if content.get("state", "LIVE") not in STATES[kind]:
        return f"{content['state']} is no state"
    for name, value in content.get("customProperties", {}).items():
        holder, held = VALUES.get(value.get("metadataType"), ("", object))
        if set(value) != {"metadataType", holder} or not isinstance(value[holder], held):
            return f"{name} is no metadata value"
    return ""
