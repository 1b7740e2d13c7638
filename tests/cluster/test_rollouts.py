"""Rollouts through the real KServe while users ask all the time: canaries, two of them bad, and no request lost.

Ten with HYPERFLOW_ROLLOUTS=10, of which the fourth cannot be loaded and the eighth fails its test.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hyperflow import client, volume
from hyperflow.client import Access
from hyperflow.engines.local import processes
from hyperflow.errors import JobFailed
from hyperflow.specs import Endpoint, ModelRef, ServeSpec
from hyperflow.volume import cards
from tests.cluster.world import KSERVE, World, need

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ROLLOUTS = int(os.environ.get("HYPERFLOW_ROLLOUTS", "3"))
BROKEN, MISREADING = (4, 8) if ROLLOUTS >= 8 else (1, 2)


@pytest.fixture(scope="module", autouse=True)
def warm() -> Iterator[None]:
    need(KSERVE)
    with processes.launcher():
        yield


@dataclass
class Users:
    """Ask a service without end, each request on a connection of its own, and remember who answered when."""

    endpoint: Endpoint
    answers: list[tuple[float, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Users:
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _ask(self) -> None:
        while not self._stop.wait(0.02):
            try:
                self.answers.append((time.monotonic(), answering(self.endpoint)))
            except (JobFailed, ValueError, KeyError) as failure:
                self.failures.append(str(failure))


def answering(endpoint: Endpoint) -> str:
    """Return the run whose model answers, as its server says."""
    reply = client.get(f"{endpoint.url}/v2/models/{endpoint.name}", Access(), 20)
    return str(json.loads(reply.body)["properties"]["run_id"])


def save(number: int, trained: Path) -> ModelRef:
    model = ModelRef(str(volume.model_path("m", f"r{number}")), f"r{number}")
    with volume.staged(Path(model.path)) as folder:
        if number == BROKEN:
            (folder / "1").mkdir()
            (folder / "1" / "saved_model.pb").write_bytes(b"broken")
        else:
            (folder / "1").symlink_to(trained / "1")
    cards.write("m", cards.Card(model.run_id, "digest", "code", {}, 0.8))
    return model


def test_rollouts_under_load(world: World, trained: Path) -> None:
    def serve(number: int) -> Endpoint:
        spec = ServeSpec(f"r{number}", "m", save(number, trained), image="p:1", canary_percent=10, timeout=120)
        return world.engine.serve(spec)

    public, good, promotions = serve(0), "r0", {"r0": 0.0}
    with Users(public) as users:
        for number in range(1, ROLLOUTS + 1):
            if number == BROKEN:
                with pytest.raises(JobFailed, match=f"the previous model .*{good}.* stays"):
                    serve(number)
            elif number == MISREADING:
                assert answering(serve(number)) == f"r{number}"
                assert world.engine.restore("m").model.run_id == good
            else:
                assert answering(serve(number)) == f"r{number}"
                promotions[f"r{number}"] = time.monotonic()
                assert world.engine.promote("m").url == public.url
                good = f"r{number}"
            now = world.engine.serving("m")
            assert now is not None
            assert (now.url, now.model.run_id, answering(now)) == (public.url, good, good)
    assert users.failures == []
    assert {run for _, run in users.answers} == promotions.keys(), (
        "a bad model answered a user, or a good one never did"
    )
    assert all(when >= promotions[run] for when, run in users.answers), "a canary answered before its turn"
    print(f"\n{ROLLOUTS} rollouts, {len(users.answers)} requests, none failed")
