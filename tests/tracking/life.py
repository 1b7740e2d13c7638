"""The life of versions in a Model Registry, seen through the server's own API; the played server and the real one."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from hyperflow import volume
from hyperflow.errors import Conflict
from hyperflow.specs import Endpoint, ModelRef
from hyperflow.tracking import versions
from hyperflow.tracking.registry import Registry
from hyperflow.volume import cards, paths, records
from hyperflow.volume.records import Deploy, Predict
from tests.tracking import volumes
from tests.tracking.volumes import MODEL

STATE = {"serving": "LIVE", "deployed": "LIVE", "replaced": "ARCHIVED", "rolled back": "ARCHIVED", "failed": "ARCHIVED"}


def deployed(run_id: str, previous: ModelRef | None = None) -> ModelRef:
    """Leave a run's folder as it is once its model is served and not yet tested."""
    model = volumes.write(run_id, until="decide", report=False)
    endpoint = Endpoint(MODEL, "http://here", model, previous)
    records.write(run_id, Deploy(endpoint=endpoint, uri=Path(model.path).as_uri(), started=1.0, seconds=1.0))
    return model


def promoted(run_id: str, model: ModelRef) -> None:
    """Leave what a smoke test that went well does."""
    cards.goes_live(MODEL, run_id)
    endpoint = Endpoint(MODEL, "http://here", model)
    records.write(run_id, Predict(endpoint=endpoint, accuracy=0.9, instances=9, p50_ms=1.0, p99_ms=2.0, started=2.0))


def get(registry: Registry, path: str, **values: str) -> dict[str, Any]:
    """Ask the server, with nothing of ours."""
    address = f"{registry.uri}/{registry.root}/{path}?{urlencode(values)}"
    with urllib.request.urlopen(address, timeout=30) as answer:
        made: dict[str, Any] = json.load(answer)
    return made


def version(registry: Registry, run_id: str) -> dict[str, Any]:
    parent = get(registry, "registered_model", name=MODEL)["id"]
    return get(registry, "model_version", name=run_id, parentResourceId=parent)


def assert_version(registry: Registry, run_id: str, stage: str) -> None:
    """The server has all that is known of a version, and says what became of it."""
    there = version(registry, run_id)
    text = {name: each["string_value"] for name, each in there["customProperties"].items() if "string_value" in each}
    assert text == {
        "hyperflow.run_id": run_id, "hyperflow.data_digest": "0e73", "hyperflow.stage": stage,
        "hyperflow.parameter.rate": "0.1", "hyperflow.parameter.units": "64",
    }  # fmt: skip
    assert there["customProperties"]["hyperflow.accuracy"]["double_value"] == 0.8
    assert there["state"] == STATE[stage]
    artifact = get(registry, "model_artifact", name=run_id, parentResourceId=there["id"])
    assert artifact["uri"] == volume.model_path(MODEL, run_id).as_uri()
    assert artifact["modelSourceId"] == run_id


def live(registry: Registry) -> None:
    """Register, retry, promote, replace, roll back, and refuse another model of a version's name."""
    one = deployed("one")
    uri = Path(one.path).as_uri()
    labels = versions.register(MODEL, one, uri, registry)
    assert labels["modelregistry.kubeflow.org/model-version-id"] == version(registry, "one")["id"]
    assert (
        labels["modelregistry.kubeflow.org/registered-model-id"] == get(registry, "registered_model", name=MODEL)["id"]
    )
    assert_version(registry, "one", "deployed")
    assert versions.register(MODEL, one, uri, registry) == labels, "a retry makes no other version"
    promoted("one", one)
    for _ in range(2):
        assert versions.sync("one", registry) == "serving"
        assert_version(registry, "one", "serving")

    two = deployed("two", one)
    assert versions.sync("two", registry) == "deployed"
    assert_version(registry, "two", "deployed")
    assert_version(registry, "one", "serving")
    promoted("two", two)
    assert versions.sync("two", registry) == "serving"
    assert_version(registry, "two", "serving")
    assert_version(registry, "one", "replaced")

    three = deployed("three", two)
    versions.register(MODEL, three, Path(three.path).as_uri(), registry)
    volume.write_text(paths.taken_back("three"), "too few images right")
    assert versions.sync("three", registry, "FAILED") == "rolled back"
    assert_version(registry, "three", "rolled back")
    assert_version(registry, "two", "serving")
    assert versions.sync("one", registry) == "replaced", "an old run's sync does not bring it back"
    assert_version(registry, "two", "serving")

    for other in (ModelRef(one.path, "one", 0.8, "ffff"), ModelRef("/elsewhere", "one", 0.8, "0e73")):
        with pytest.raises(Conflict, match=f"version one of {MODEL}"):
            versions.register(MODEL, other, Path(other.path).as_uri(), registry)
    assert_version(registry, "one", "replaced")
