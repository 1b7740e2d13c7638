"""The batcher on a model of numpy: what is gathered, what is refused, what a fault costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hyperflow.serving.batcher import Batcher
from hyperflow.serving.limits import Limits
from hyperflow.serving.tensors import RequestError, Tensors, TensorSpec


class Doubler:
    """Doubles its input once it is let go on, and writes down the sizes of its batches."""

    def __init__(self) -> None:
        self.version = "1"
        self.inputs = {"x": TensorSpec("x", np.dtype(np.float32), (2,))}
        self.outputs = {"y": TensorSpec("y", np.dtype(np.float32), (2,))}
        self.batches: list[int] = []
        self.go = threading.Event()

    def run(self, tensors: Tensors) -> dict[str, Any]:
        self.batches.append(len(tensors["x"]))
        assert self.go.wait(10)
        if (tensors["x"] < 0).any():
            raise ArithmeticError("negative")
        with np.errstate(over="ignore"):
            return {"y": tensors["x"] * np.float32(2)}


@pytest.fixture
def model() -> Iterator[Doubler]:
    model = Doubler()
    yield model
    model.go.set()


def rows(*values: float) -> dict[str, Any]:
    return {"x": np.array([[value, value] for value in values], np.float32)}


def batcher(model: Doubler, **limits: Any) -> Batcher:
    return Batcher(model, Limits(**limits), lambda answer, count, seconds: None)


async def gather(batcher: Batcher, model: Doubler, *requests: dict[str, Any], hold: float = 0.05) -> list[Any]:
    """Send the first request, the others while the model is at work on it, then let the model go on."""
    work = [asyncio.ensure_future(batcher.submit(requests[0], len(requests[0]["x"])))]
    await asyncio.sleep(hold)
    work += [asyncio.ensure_future(batcher.submit(request, len(request["x"]))) for request in requests[1:]]
    await asyncio.sleep(hold)
    model.go.set()
    return await asyncio.gather(*work, return_exceptions=True)


def test_what_arrives_while_the_model_works_is_one_batch(model: Doubler) -> None:
    answers = asyncio.run(gather(batcher(model), model, rows(1), rows(2), rows(3, 4), rows(5)))
    assert model.batches == [1, 4]
    assert [answer["y"][:, 0].tolist() for answer in answers] == [[2], [4], [6, 8], [10]]


def test_what_arrives_together_is_one_batch(model: Doubler) -> None:
    async def together() -> list[Any]:
        queue = batcher(model)
        model.go.set()
        return await asyncio.gather(*(queue.submit(rows(value), 1) for value in range(5)))

    assert len(asyncio.run(together())) == 5
    assert model.batches == [5]


def test_batches_are_bounded(model: Doubler) -> None:
    requests = [rows(1), *[rows(1, 2)] * 4]
    asyncio.run(gather(batcher(model, batch_rows=4), model, *requests))
    assert model.batches == [1, 4, 4]


def test_too_many_waiting_are_told_to_come_back(model: Doubler) -> None:
    answers = asyncio.run(gather(batcher(model, pending_rows=2), model, rows(1), rows(2), rows(3), rows(4)))
    assert isinstance(answers[-1], RequestError)
    assert answers[-1].status == 429
    assert [answer["y"][0, 0] for answer in answers[:-1]] == [2, 4, 6]


def test_a_slow_answer_is_given_up_and_its_instances_are_not_computed(model: Doubler) -> None:
    answers = asyncio.run(gather(batcher(model, answer_seconds=0.02), model, rows(1), rows(2), hold=0.1))
    assert [answer.status for answer in answers] == [504, 504]
    assert model.batches == [1]


def test_an_answer_that_is_not_finite_is_the_clients_to_know_and_nobody_elses(model: Doubler) -> None:
    answers = asyncio.run(gather(batcher(model), model, rows(1), rows(3e38), rows(2)))
    assert model.batches == [1, 2]
    assert answers[1].status == 400
    assert answers[2]["y"][0, 0] == 4


def test_a_fault_of_the_model_ends_its_batch_and_no_more(model: Doubler) -> None:
    async def two() -> list[Any]:
        queue = batcher(model)
        failed = await gather(queue, model, rows(-1))
        return failed + await gather(queue, model, rows(1))

    answers = asyncio.run(two())
    assert isinstance(answers[0], ArithmeticError)
    assert answers[1]["y"][0, 0] == 2
