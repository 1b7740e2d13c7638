"""Versions in a Model Registry: their life, what is done twice, and a registry that does not do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.specs import ModelRef
from hyperflow.tracking import versions
from hyperflow.tracking.credentials import REGISTRY_TOKEN
from hyperflow.tracking.registry import Registry
from hyperflow.volume import records
from tests.tracking import life, volumes
from tests.tracking.mlflow import serving
from tests.tracking.registry import ModelRegistry
from tests.tracking.volumes import MODEL


@pytest.fixture
def server() -> Iterator[ModelRegistry]:
    with serving(ModelRegistry()) as made:
        yield made


def test_life_of_versions(server: ModelRegistry) -> None:
    life.live(Registry(server.url))


def test_nothing_is_written_twice(server: ModelRegistry) -> None:
    life.promoted("one", life.deployed("one"))
    versions.sync("one", Registry(server.url))
    assert len(server.changes) == 3, "model, version, artifact"
    versions.sync("one", Registry(server.url))
    assert len(server.changes) == 3


@pytest.mark.parametrize("broken", ["registered_models", "versions", "artifacts", "PATCH"])
def test_next_sync_goes_on_where_one_broke_off(broken: str, server: ModelRegistry) -> None:
    model = life.deployed("one")
    if broken == "PATCH":
        versions.sync("one", Registry(server.url))
        life.promoted("one", model)
    server.failing = "model_versions/" if broken == "PATCH" else broken
    with pytest.raises(Unavailable, match="500"):
        versions.sync("one", Registry(server.url))
    server.failing = ""
    life.promoted("one", model)
    versions.sync("one", Registry(server.url))
    life.assert_version(Registry(server.url), "one", "serving")


def test_two_at_once_make_one(server: ModelRegistry) -> None:
    life.deployed("one")
    server.before_make = lambda: versions.sync("one", Registry(server.url))
    versions.sync("one", Registry(server.url))
    assert [len(held) for held in server.held.values()] == [1, 1, 1]


def test_outage_while_a_model_was_replaced_is_mended_by_its_own_sync(server: ModelRegistry) -> None:
    one = life.deployed("one")
    life.promoted("one", one)
    versions.sync("one", Registry(server.url))
    two = life.deployed("two", one)  # and nobody told the registry
    life.promoted("two", two)
    life.promoted("three", life.deployed("three", two))
    versions.sync("three", Registry(server.url))
    assert versions.sync("two", Registry(server.url)) == "replaced"
    for run_id, stage in (("one", "replaced"), ("two", "replaced"), ("three", "serving")):
        life.assert_version(Registry(server.url), run_id, stage)


def test_deployment_that_failed_is_put_away_and_its_retry_brings_it_back(server: ModelRegistry) -> None:
    model = volumes.write("one", until="decide", report=False)
    registry = Registry(server.url)
    assert versions.sync("one", registry, "FAILED") == "", "it was never registered"
    assert not server.changes
    uri = f"file://{model.path}"
    versions.register(MODEL, model, uri, registry)
    assert versions.sync("one", registry, "FAILED") == "failed"
    life.assert_version(registry, "one", "failed")
    versions.register(MODEL, model, uri, registry)
    life.assert_version(registry, "one", "deployed")


@pytest.mark.parametrize("until", ["load_data", "train"])
def test_run_that_has_deployed_nothing_asks_nothing(until: str, server: ModelRegistry) -> None:
    volumes.write("one", until=until, report=False)
    assert versions.sync("one", Registry(server.url)) == ""
    assert not server.asked


def test_run_of_an_earlier_version_says_why_it_cannot_be_registered(server: ModelRegistry) -> None:
    life.deployed("one")
    old = records.read("one", records.Deploy)
    assert old is not None
    records.write("one", records.Deploy(endpoint=old.endpoint))
    with pytest.raises(Unavailable, match="cannot be registered"):
        versions.sync("one", Registry(server.url))


def test_what_others_wrote_on_a_version_stays(server: ModelRegistry) -> None:
    model = life.deployed("one")
    versions.sync("one", Registry(server.url))
    (held,) = server.held["versions"].values()
    held["customProperties"]["reviewed"] = {"metadataType": "MetadataStringValue", "string_value": "by ann"}
    life.promoted("one", model)
    versions.sync("one", Registry(server.url))
    assert held["customProperties"]["reviewed"]["string_value"] == "by ann"
    assert held["customProperties"]["hyperflow.stage"]["string_value"] == "serving"


def test_labels_name_the_registrys_service_where_the_address_is_one() -> None:
    where = versions._where("http://model-registry-service.kubeflow.svc.cluster.local:8080")
    assert where == {"name": "model-registry-service", "namespace": "kubeflow"}
    assert versions._where("https://registry.example.org") == {}


def test_token_is_sent_and_never_shown(server: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    server.authorization = "Bearer t0ken"
    model = ModelRef("/models/one", "one", 0.8, "0e73")
    monkeypatch.setenv(REGISTRY_TOKEN, "wr0ng")
    with pytest.raises(Unavailable, match="401") as caught:
        versions.register(MODEL, model, "file:///models/one", Registry(server.url))
    assert REGISTRY_TOKEN in caught.value.remedy
    assert "wr0ng" not in str(caught.value)
    monkeypatch.setenv(REGISTRY_TOKEN, "t0ken")
    versions.register(MODEL, model, "file:///models/one", Registry(server.url))


@pytest.mark.parametrize("text", ["<html>Welcome</html>", "[1, 2]", '{"id": "none"}', '{"name": "m"}'])
def test_answer_of_something_else(server: ModelRegistry, text: str) -> None:
    life.deployed("one")
    versions.sync("one", Registry(server.url))
    server.instead = text
    with pytest.raises(Unavailable, match="does not answer as a Model Registry does"):
        versions.sync("one", Registry(server.url))


def test_address_of_no_registry(server: ModelRegistry) -> None:
    life.deployed("one")
    with pytest.raises(Unavailable, match="404") as caught:
        versions.sync("one", Registry(f"{server.url}/ui"))
    assert "API" in caught.value.remedy
    with pytest.raises(InvalidParameter, match="--model-registry"):
        Registry("file:/registry")
