"""A canary in the real KServe's Standard mode: asked alone at a Service of its own, then promoted or taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperflow import client, volume
from hyperflow.engines.local import processes
from hyperflow.specs import Endpoint, ModelRef, ServeSpec
from hyperflow.volume import cards
from tests.cluster.world import KSERVE, World, need

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def warm() -> Iterator[None]:
    need(KSERVE)
    with processes.launcher():
        yield


def answering(endpoint: Endpoint) -> str:
    """Return the run whose model answers, as its server says."""
    reply = client.get(f"{endpoint.url}/v2/models/{endpoint.name}")
    return str(json.loads(reply.body)["properties"]["run_id"])


def test_step_asks_the_canary_and_users_go_on_with_the_stable_model(world: World, trained: Path) -> None:
    def serve(run_id: str) -> Endpoint:
        model = ModelRef(str(volume.model_path("m", run_id)), run_id)
        return world.engine.serve(ServeSpec(run_id, "m", model, image="predictor:1", canary_percent=50, timeout=120))

    for run_id in ("one", "two"):
        with volume.staged(volume.model_path("m", run_id)) as folder:
            (folder / "1").symlink_to(trained / "1")
        cards.write("m", cards.Card(run_id, "digest", "code", {}, 0.8))
    stable = serve("one")
    canary = serve("two")
    assert canary.url != stable.url
    assert (answering(stable), answering(canary)) == ("one", "two")
    back = world.engine.restore("m")
    assert (back.url, answering(back)) == (stable.url, "one")
    serve("two")
    promoted = world.engine.promote("m")
    assert (promoted.url, answering(promoted)) == (stable.url, "two")
