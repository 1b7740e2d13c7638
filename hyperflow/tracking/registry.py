"""A small client of the Kubeflow Model Registry's REST API, v1alpha3: models, their versions, and where those are.

Everything is found by its name; the lists are not asked for, as the server does not give them on every database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from hyperflow.client import Reply
from hyperflow.tracking.credentials import REGISTRY
from hyperflow.tracking.rest import Api, error_code

LIVE, ARCHIVED = "LIVE", "ARCHIVED"
"""The states of a version: it exists, or it is put away."""

Properties = Mapping[str, Mapping[str, Any]]
"""Custom properties by name, as the API writes them."""


@dataclass(frozen=True)
class Held:
    """A registered model, a version of one, or a version's artifact, as the server has it.

    Args:
        id: Its id there, digits.
        state: LIVE or ARCHIVED; an artifact has others.
        properties: Its custom properties.
        uri: Where an artifact is.
    """

    id: str
    state: str = ""
    properties: Properties = field(default_factory=dict)
    uri: str = ""

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Held:
        """Read one of an answer."""
        properties = dict(answer.get("customProperties") or {})
        return cls(str(int(answer["id"])), answer.get("state", ""), properties, answer.get("uri", ""))

    def text(self, name: str) -> str:
        """Return a custom property that is a text; an empty one where there is none."""
        return str(self.properties.get(name, {}).get("string_value", ""))


class Registry(Api):
    """A Kubeflow Model Registry."""

    kind, a_kind, option = "Model Registry", "a Model Registry", "--model-registry"
    root = "api/model_registry/v1alpha3"
    names = REGISTRY

    def model(self, name: str) -> Held | None:
        """Return a registered model, or None."""
        return self._find("registered_model", {"name": name})

    def make_model(self, name: str) -> Held:
        """Register a model; one that was there before is returned."""
        return self._make("registered_models", {"name": name}) or self._there(self.model(name), name)

    def version(self, model: Held, name: str) -> Held | None:
        """Return a version of a model, or None."""
        return self._find("model_version", {"name": name, "parentResourceId": model.id})

    def make_version(self, model: Held, name: str, state: str, properties: Properties) -> Held:
        """Make a version; one that was there before is returned as it is."""
        body = {"name": name, "registeredModelId": model.id, "state": state, "customProperties": properties}
        made = self._make(f"registered_models/{model.id}/versions", body)
        return made or self._there(self.version(model, name), name)

    def change_version(self, version: Held, state: str, properties: Properties) -> None:
        """Set a version's state and some of its properties; the server would forget those that are not sent."""
        body = {"state": state, "customProperties": {**version.properties, **properties}}
        self.send_json("PATCH", f"model_versions/{version.id}", body)

    def artifact(self, version: Held, name: str) -> Held | None:
        """Return a version's artifact, or None."""
        return self._find("model_artifact", {"name": name, "parentResourceId": version.id})

    def make_artifact(self, version: Held, name: str, what: Mapping[str, str]) -> Held:
        """Say where a version is; what was said before is returned as it is."""
        body = {"artifactType": "model-artifact", "name": name, "state": LIVE, **what}
        made = self._make(f"model_versions/{version.id}/artifacts", body)
        return made or self._there(self.artifact(version, name), name)

    def _find(self, path: str, values: Mapping[str, str]) -> Held | None:
        answer = self.content(self.ask("GET", f"{path}?{urlencode(values)}", allowed=_is_missing))
        return Held.read(answer) if answer else None

    def _make(self, path: str, body: Mapping[str, Any]) -> Held | None:
        """Make something; None where its name is taken."""
        answer = self.send_json("POST", path, body, lambda reply: reply.status == HTTPStatus.CONFLICT)
        return Held.read(answer) if answer else None

    def _there(self, held: Held | None, name: str) -> Held:
        if held is None:
            raise LookupError(f"{name} is there and is not found")
        return held


def _is_missing(reply: Reply) -> bool:
    """Tell the API's own answer from a web server's that knows no such page."""
    return reply.status == HTTPStatus.NOT_FOUND and error_code(reply) != ""


def text(value: str) -> Mapping[str, Any]:
    """Write a text as a custom property."""
    return {"metadataType": "MetadataStringValue", "string_value": value}


def number(value: float) -> Mapping[str, Any]:
    """Write a number as a custom property."""
    return {"metadataType": "MetadataDoubleValue", "double_value": value}
