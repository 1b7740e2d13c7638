"""A tuning and a training on a real cluster while the network and the API server in front of them misbehave."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.engines.kubeflow.cluster import _LONGEST_PAUSE as LONGEST_PAUSE
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.specs import TrainResult, TuneResult
from tests.cluster.check import wait_for
from tests.cluster.step import train_spec, tune_spec
from tests.cluster.world import KATIB, World, need, new_token
from tests.kubeflow.emulator import Fault, Request

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

OUTAGE = float(os.environ.get("HYPERFLOW_OUTAGE", "10"))
PAUSE = 0.5
RUN = "run-1"
TOKEN_CACHE_SECONDS = 11
"""How long the API server goes on to believe in a token that has ended."""

Disturbance = Callable[[World], None]


@pytest.fixture(autouse=True)
def katib() -> None:
    need(*KATIB)


def test_latency(world: World) -> None:
    world.proxy.latency = 0.25
    run_both(world, lambda world: None)


@pytest.mark.parametrize(("status", "headers"), [(429, {"Retry-After": "1"}), (500, {}), (503, {}), (504, {})])
def test_burst_of_refusals(world: World, status: int, headers: dict[str, str]) -> None:
    def burst(world: World) -> None:
        world.proxy.faults.append(Fault(status, times=8, headers=headers))
        world.proxy.cut()

    run_both(world, burst)
    assert len(world.proxy.refused) == 8


def test_refusals_from_the_first_request(world: World) -> None:
    world.proxy.faults.append(Fault(503, times=5))
    run_both(world, lambda world: None)
    assert len(world.proxy.refused) == 5


def test_answer_to_the_creation_is_lost(world: World) -> None:
    """The object is there, but its maker does not know: the next attempt must find it and make no other."""
    with lost_answers(world):
        run_both(world, lambda world: None)
    assert world.proxy.count("create", "tfjobs") == 2
    assert world.proxy.count("create", "experiments") == 2


def test_connections_are_cut_over_and_over(world: World) -> None:
    def cut(world: World) -> None:
        for _ in range(10):
            threading.Event().wait(0.3)
            world.proxy.cut()

    run_both(world, cut)
    assert world.proxy.count("watch", "tfjobs") > 1


def test_outage(world: World) -> None:
    def outage(world: World) -> None:
        world.proxy.outage(OUTAGE)
        threading.Event().wait(OUTAGE)

    run_both(world, outage)


def test_compaction_and_restart_while_nobody_watches(world: World) -> None:
    """What the step saw last is forgotten by etcd and by the API server: its watch is answered with 410."""

    def compact(world: World) -> None:
        cluster = world.parts.cluster
        # A watch that opens after the outage would begin with the present and miss nothing.
        wait_for(
            lambda: all(world.proxy.count("watch", plural) for plural in ("tfjobs", "experiments")), "both watches"
        )
        world.proxy.outage(3600)
        wait_for(lambda: all(has_ended(world, plural) for plural in ("tfjobs", "experiments")), "both ends")
        _compact(cluster.etcd_url)
        server = cluster.servers["kube-apiserver"]
        server.kill()
        server.start()
        world.proxy.outage(0)

    run_both(world, compact)
    assert world.proxy.count("list", "tfjobs") > 1
    assert world.proxy.count("list", "experiments") > 1


def test_token_ends_and_another_is_in_its_file(world: World) -> None:
    def rotate(world: World) -> None:
        world.api.delete(world.path("secrets", "first"))
        threading.Event().wait(TOKEN_CACHE_SECONDS)
        world.token_file.write_text(new_token(world.api, world.namespace))
        world.proxy.cut()

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "first"}}
    made = world.api.create(world.path("secrets"), secret)
    bound = {"apiVersion": "v1", "kind": "Secret", "name": "first", "uid": made["metadata"]["uid"]}
    world.token_file.write_text(new_token(world.api, world.namespace, bound))
    world.engine = KubeflowEngine(cluster=Cluster(patience=90))  # one that has not read the token before
    run_both(world, rotate, pause=4)
    assert 401 in world.proxy.statuses


def run_both(world: World, disturb: Disturbance, pause: float = PAUSE) -> None:
    """Tune and train at once, disturb both while they run, and see that each did its work exactly once."""
    with ThreadPoolExecutor(2) as pool:
        train = pool.submit(world.engine.train, replace(train_spec(RUN, pause), timeout=300))
        tune = pool.submit(world.engine.tune, replace(tune_spec(RUN, pause), timeout=300))
        wait_for(lambda: world.items("tfjobs") and world.items("experiments"), "both jobs")
        disturb(world)
        check_training(world, train.result(120))
        check_search(world, tune.result(120))


def check_training(world: World, result: TrainResult) -> None:
    assert result.metrics["epoch"] == 3
    assert len(result.curve["loss"]) == 3
    assert len(world.items("tfjobs")) == 1


def check_search(world: World, result: TuneResult) -> None:
    assert len(result.trials) == len(world.items("trials")) == 4
    assert result.best.value == max(trial.value or 0 for trial in result.trials)
    assert len(world.items("experiments")) == 1


def has_ended(world: World, plural: str) -> bool:
    (item,) = world.items(plural)
    return any(entry["type"] == "Succeeded" for entry in item.get("status", {}).get("conditions", []))


@contextlib.contextmanager
def lost_answers(world: World) -> Iterator[None]:
    """Cut the connection of each first creation after the API server has done what was asked."""
    lost: set[str] = set()

    def is_first(request: Request) -> bool:
        if request.verb != "create" or request.resource in lost:
            return False
        lost.add(request.resource)
        return True

    world.proxy.loses = is_first
    yield
    world.proxy.loses = lambda _: False


def _compact(etcd: str) -> None:
    """Have etcd forget all but the present."""
    now = _etcd(f"{etcd}/v3/kv/range", {"key": "AA=="})["header"]["revision"]
    _etcd(f"{etcd}/v3/kv/compaction", {"revision": now, "physical": True})


def _etcd(url: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=10) as response:
        answer: dict[str, dict[str, str]] = json.load(response)
    return answer


def test_end_is_seen_at_once_after_an_outage(world: World) -> None:
    """What ended while the API server was away is seen as soon as it is back, not a poll later."""

    def outage(world: World) -> None:
        world.proxy.outage(3600)
        wait_for(lambda: has_ended(world, "tfjobs"), "the end of the training")
        world.proxy.outage(0)

    with ThreadPoolExecutor(1) as pool:
        train = pool.submit(world.engine.train, train_spec(RUN, PAUSE))
        wait_for(lambda: world.items("tfjobs"), "the job")
        outage(world)
        back = time.monotonic()
        check_training(world, train.result(60))
        assert time.monotonic() - back < LONGEST_PAUSE + 1
