"""TF_CONFIG: which process this is, and what is refused by name."""

from __future__ import annotations

import json

import pytest

from hyperflow.errors import InvalidParameter
from hyperflow.fashion import cluster


def config(role: str, index: int, **cluster_spec: list[str]) -> str:
    return json.dumps({"cluster": cluster_spec, "task": {"type": role, "index": index}, "environment": "cloud"})


def test_no_configuration_is_one_worker_that_leads() -> None:
    for text in ("", " ", "{}", '{"cluster": {}}'):
        alone = cluster.member(text)
        assert (alone.trains, alone.leads, alone.workers) == (True, True, 1)


@pytest.mark.parametrize(
    ("text", "trains", "leads"),
    [
        (config("chief", 0, chief=["a:1"], worker=["b:1"]), True, True),
        (config("worker", 0, chief=["a:1"], worker=["b:1"]), True, False),
        (config("worker", 0, worker=["a:1", "b:1"]), True, True),
        (config("worker", 1, worker=["a:1", "b:1"]), True, False),
        (config("ps", 0, chief=["a:1"], worker=["b:1"], ps=["c:1"]), False, False),
        (config("evaluator", 0, chief=["a:1"], worker=["b:1"], evaluator=["c:1"]), False, False),
    ],
)
def test_roles(text: str, trains: bool, leads: bool) -> None:
    member = cluster.member(text)
    assert (member.trains, member.leads, member.workers) == (trains, leads, 2)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "3",
        '{"cluster": 1}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "x"}}',
        config("worker", 2, worker=["a:1", "b:1"]),
        config("chief", 0, worker=["a:1"]),
        config("worker", -1, worker=["a:1"]),
    ],
)
def test_a_configuration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="TF_CONFIG"):
        cluster.member(text)
