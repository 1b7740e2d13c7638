"""Drift: its figures against SciPy, and what a real predictor counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hyperflow import volume
from hyperflow.evaluation import drift
from hyperflow.evaluation.drift import Traffic
from hyperflow.serving.metrics import Metrics
from hyperflow.serving.tensors import TensorSpec
from hyperflow.specs import Endpoint, ModelRef


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 10, 25])
@pytest.mark.parametrize("statistic", [0.0, 0.3, 5.0, 30.0, 900.0])
def test_chi_square_tail(freedom: int, statistic: float) -> None:
    expected = stats.chi2.sf(statistic, freedom)
    assert drift.chi_square_tail(statistic, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_chi_square() -> None:
    counts, shares = [120.0, 90.0, 90.0], [0.5, 0.25, 0.25]
    expected = stats.chisquare(counts, [150, 75, 75])
    assert drift.chi_square(counts, shares) == pytest.approx((expected.statistic, expected.pvalue))


def test_stability_index() -> None:
    assert drift.psi([0.5, 0.5], [0.5, 0.5]) == 0
    assert drift.psi([0.75, 0.25], [0.5, 0.5]) == pytest.approx(0.25 * np.log(1.5) - 0.25 * np.log(0.5))
    assert np.isfinite(drift.psi([1.0, 0.0], [0.5, 0.5]))


def test_few_answers_say_nothing() -> None:
    assert drift.measure(Traffic({"0": 60, "1": 39}, 80.0), [10, 10], 0.9) is None


def test_same_mix_is_no_drift_and_another_is() -> None:
    same = drift.measure(Traffic({"0": 505, "1": 495}, 900.0), [10, 10], 0.95)
    other = drift.measure(Traffic({"0": 900, "1": 100}, 600.0), [10, 10], 0.95)
    assert same is not None
    assert other is not None
    assert same.psi < 0.01 < 0.5 < other.psi
    assert other.p_value < 1e-9 < 0.5 < same.p_value
    assert (same.confidence, other.confidence, same.expected_confidence) == (0.9, 0.6, 0.95)


@pytest.fixture
def predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Metrics, Endpoint]]:
    """The predictor's own counters behind a real socket."""
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    metrics = Metrics("m", {"scores": TensorSpec("scores", np.dtype(np.float32), (3,))})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(metrics.exposition())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield metrics, Endpoint("m", f"http://127.0.0.1:{server.server_port}", ModelRef("/m/1"))
    server.shutdown()
    server.server_close()


def answer(metrics: Metrics, index: int, count: int) -> None:
    scores = np.full((count, 3), 0.1, dtype=np.float32)
    scores[:, index] = 0.8
    metrics.observe_batch({"scores": scores}, count, 0.001)


def test_each_look_sees_what_is_new(predictor: tuple[Metrics, Endpoint]) -> None:
    metrics, endpoint = predictor
    answer(metrics, 0, 5)
    first = drift.recent(endpoint)
    answer(metrics, 2, 7)
    second = drift.recent(endpoint)
    assert first is not None
    assert second is not None
    assert {name: count for name, count in first.classes.items() if count} == {"0": 5}
    assert {name: count for name, count in second.classes.items() if count} == {"2": 7}
    assert second.confidence == pytest.approx(5.6)


def test_own_questions_are_left_out(predictor: tuple[Metrics, Endpoint]) -> None:
    metrics, endpoint = predictor
    answer(metrics, 0, 3)
    with drift.own_questions(endpoint):
        answer(metrics, 1, 10_000)
    answer(metrics, 2, 4)
    seen = drift.recent(endpoint)
    assert seen is not None
    assert {name: count for name, count in seen.classes.items() if count} == {"0": 3, "2": 4}


def test_another_process_counts_from_nothing() -> None:
    before, after = Traffic({"0": 9}, 9.0, started=1.0), Traffic({"0": 4}, 3.0, started=2.0)
    assert after.since(before) == after


@pytest.mark.parametrize("text", ["", "nonsense {", 'other_total{class="1"} 3'])
def test_predictor_without_these_counters_is_passed_over(text: str) -> None:
    assert drift.parse(text) is None


def test_predictor_that_does_not_answer_is_passed_over() -> None:
    assert drift.look(Endpoint("m", "http://127.0.0.1:9", ModelRef("/m/1"))) is None
