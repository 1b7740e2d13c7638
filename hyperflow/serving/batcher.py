"""Gathers the instances that arrive together into one call of the model."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hyperflow.serving.limits import Limits
from hyperflow.serving.tensors import Array, Model, RequestError, Tensors, rows_a_call
from hyperflow.serving.tracing import CURRENT, Timeline

Observer = Callable[[Tensors, int, float], None]
"""Told of every batch answered: the outputs that count, its number of rows and the seconds that the model took."""


@dataclass(frozen=True)
class _Waiting:
    tensors: Tensors
    rows: int
    answer: asyncio.Future[dict[str, Array]]
    times: Timeline | None = None  # of a request that is traced
    counts: bool = True


class Batcher:
    """One queue in front of one model.

    Nothing waits for a batch to fill: while the model works on one, the next one gathers. The
    model runs on a thread of its own, so that the server stays able to say that it is alive.

    Args:
        model: The model.
        limits: Bounds of a batch, of the queue and of the time an answer may take.
        observe: Told of every batch, on the model's thread.
    """

    def __init__(self, model: Model, limits: Limits, observe: Observer) -> None:
        self._model, self._limits, self._observe = model, limits, observe
        self._batch_rows = rows_a_call(model.inputs, limits.batch_rows)
        self._queue: deque[_Waiting] = deque()
        self._pending_rows = 0
        self._busy = False
        self._thread = ThreadPoolExecutor(1, "model")

    async def submit(self, tensors: Tensors, rows: int, counts: bool = True) -> dict[str, Array]:
        """Have the model answer.

        Args:
            tensors: The instances.
            rows: How many there are.
            counts: Whether the answer is one that somebody gets, and that metrics of answers are about.

        Raises:
            RequestError: Too many instances wait already, the answer takes too long, or the model
                answers an instance with something else than finite numbers.
        """
        if self._pending_rows + rows > self._limits.pending_rows:
            raise RequestError("too many instances are waiting; try again in a moment", 429)
        loop = asyncio.get_running_loop()
        times = CURRENT.get()
        waiting = _Waiting(tensors, rows, loop.create_future(), times, counts)
        if times:
            times.queued, times.rows = time.time_ns(), rows
        self._queue.append(waiting)
        self._pending_rows += rows
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start)  # not at once: what arrived in the same turn of the loop joins
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                return await waiting.answer
        except TimeoutError:
            raise RequestError("the model took too long to answer", 504) from None

    def waiting(self) -> int:
        """Return how many instances wait."""
        return self._pending_rows

    def close(self) -> None:
        """Let the batch being worked on end, and start no other."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        batch = self._next_batch()
        self._busy = bool(batch)
        if batch:
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._run, batch)
            work.add_done_callback(lambda done: self._finish(batch, done))

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        while self._queue and (not batch or rows + self._queue[0].rows <= self._batch_rows):
            waiting = self._queue.popleft()
            self._pending_rows -= waiting.rows
            if not waiting.answer.done():  # given up meanwhile
                batch.append(waiting)
                rows += waiting.rows
        for times in _traced(batch):
            times.picked, times.batch_rows = time.time_ns(), rows
        return batch

    def _run(self, batch: list[_Waiting]) -> dict[str, Array]:
        first, *others = batch
        tensors = first.tensors
        if others:
            tensors = {name: np.concatenate([waiting.tensors[name] for waiting in batch]) for name in tensors}
        for times in _traced(batch):
            times.model_start = time.time_ns()
        start = time.perf_counter()
        answer = self._model.run(tensors)
        seconds = time.perf_counter() - start
        for times in _traced(batch):
            times.model_end = time.time_ns()
        self._observe(_counted(batch, answer), sum(waiting.rows for waiting in batch), seconds)
        return answer

    def _finish(self, batch: list[_Waiting], work: asyncio.Future[dict[str, Array]]) -> None:
        start = 0
        for times in _traced(batch):
            times.given = time.time_ns()
        for waiting in batch:
            end = start + waiting.rows
            if waiting.answer.done():
                pass
            elif error := work.exception():
                waiting.answer.set_exception(error)
            else:
                _give(waiting.answer, {name: array[start:end] for name, array in work.result().items()})
            start = end
        self._start()


def _traced(batch: list[_Waiting]) -> list[Timeline]:
    return [waiting.times for waiting in batch if waiting.times]


def _counted(batch: list[_Waiting], answer: dict[str, Array]) -> dict[str, Array]:
    if all(waiting.counts for waiting in batch):
        return answer
    mask = np.repeat([waiting.counts for waiting in batch], [waiting.rows for waiting in batch])
    return {name: array[mask] for name, array in answer.items()}


def _give(answer: asyncio.Future[dict[str, Array]], tensors: dict[str, Array]) -> None:
    if all(array.dtype.kind != "f" or np.isfinite(array).all() for array in tensors.values()):
        answer.set_result(tensors)
    else:
        reason = "the model has no finite answer to this: the numbers are far out of what it was trained on"
        answer.set_exception(RequestError(reason))
