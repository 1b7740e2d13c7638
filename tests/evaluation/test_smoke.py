"""The smoke test against a real HTTP server: what is sent, counted and refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from hyperflow.errors import JobFailed
from hyperflow.evaluation import smoke
from hyperflow.evaluation.smoke import SmokeTest
from hyperflow.specs import Endpoint, ModelRef

CLASSES = 4


class Reader(BaseHTTPRequestHandler):
    """A model that reads an image's first pixel as its class, and remembers what it was asked."""

    asked: list[list[int]]

    def do_POST(self) -> None:
        instances = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        self.asked.append([instance["flatten_input"][0] for instance in instances])
        rows = np.eye(CLASSES)[self.asked[-1]].tolist()
        body = json.dumps({"predictions": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def reader() -> Iterator[tuple[type[Reader], Endpoint]]:
    handler = type("OneReader", (Reader,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler, Endpoint("m", f"http://127.0.0.1:{server.server_port}", ModelRef("/models/m/r"))
        server.shutdown()


def test_each_image_is_a_request_of_its_own_after_one_that_is_not_counted(
    reader: tuple[type[Reader], Endpoint],
) -> None:
    handler, endpoint = reader
    images = np.array([[[0]], [[1]], [[2]], [[3]]], np.uint8)
    result = smoke.run(endpoint, images, np.array([0, 1, 2, 0], np.uint8))
    assert handler.asked == [[0], [0], [1], [2], [3]]
    assert (result.accuracy, result.instances) == (0.75, 4)
    np.testing.assert_array_equal(result.answers, np.eye(CLASSES))
    assert 0 < result.p50_ms <= result.p99_ms


def test_first_answer_may_wait_for_a_server_and_is_told_apart(reader: tuple[type[Reader], Endpoint]) -> None:
    """As a service that has scaled to zero answers: late once, and longer than any later answer may take."""
    handler, endpoint = reader
    answer_at_once = handler.do_POST

    def start_first(self: Reader) -> None:
        if not self.asked:
            time.sleep(0.6)
        answer_at_once(self)

    handler.do_POST = start_first  # type: ignore[method-assign]
    images, labels = np.zeros((3, 1, 1), np.uint8), np.zeros(3, np.uint8)
    result = smoke.run(endpoint, images, labels, seconds=0.3, first_seconds=10)
    assert result.p99_ms < 300 < 600 < result.first_ms < 10_000
    smoke.judge(result, 0.8, 300)
    handler.asked.clear()
    with pytest.raises(JobFailed):
        smoke.run(endpoint, images, labels, seconds=0.3)


def test_speed_is_worded_with_the_first_answer_where_that_is_known() -> None:
    assert smoke.speed(1.0, 2.0, 4321.0) == "p50 1.0 ms, p99 2.0 ms, the first 4321.0 ms"
    assert smoke.speed(1.0, 2.0, 0.0) == "p50 1.0 ms, p99 2.0 ms"


@pytest.mark.parametrize(("asked", "given"), [(3, 3), (100, 10)])
def test_same_images_are_chosen_each_time_each_once(asked: int, given: int) -> None:
    class Ten:
        """A data set of ten test images."""

        def labels(self, part: str) -> np.ndarray:
            return np.zeros(10 if part == "test" else 99, np.uint8)

    chosen = smoke.choose(Ten(), asked)
    np.testing.assert_array_equal(chosen, smoke.choose(Ten(), asked))
    assert len(chosen) == given
    assert list(chosen) == sorted(set(chosen.tolist()) & set(range(10)))


@pytest.mark.parametrize(
    ("accuracy", "p99", "said"),
    [(0.8, 10.0, None), (0.79, 10.0, "0.790 of 100; the floor is 0.8"), (0.8, 10.1, "10.1 ms; the ceiling is 10")],
)
def test_figures_are_judged_by_their_limits(accuracy: float, p99: float, said: str | None) -> None:
    result = SmokeTest(accuracy, 100, 1.0, p99, 5000.0, np.zeros((100, 10)))
    if said is None:
        smoke.judge(result, 0.8, 10.0)
        return
    with pytest.raises(JobFailed) as refused:
        smoke.judge(result, 0.8, 10.0)
    assert said in refused.value.why
    assert refused.value.remedy
