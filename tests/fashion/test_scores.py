"""Test results as data, on cases small enough to work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hyperflow import metrics
from hyperflow.fashion import scores

LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.9, 0.0], [0.0, 0.5, 0.5], [0.6, 0.4, 0.0]], dtype=np.float32
)


def test_loss_and_accuracy() -> None:
    loss, accuracy = scores.loss_and_accuracy(PROBABILITIES, LABELS)
    assert accuracy == pytest.approx(3 / 5)
    assert loss == pytest.approx(-sum(map(math.log, (0.8, 0.2, 0.9, 0.5, 1e-7))) / 5, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_costs_the_penalty(bad: float) -> None:
    assert scores.loss_and_accuracy(np.array([[bad, 0.0]]), np.array([0])) == (metrics.PENALTY, 0.0)


def test_a_summary_of_all() -> None:
    summary = scores.summarise(PROBABILITIES, LABELS, ["a", "b", "c"])
    assert summary["confusion_matrix"] == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert summary["per_class"] == [
        {"class": "a", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        {"class": "b", "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8), "support": 2},
        {"class": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
    ]
    assert summary["misread"] == [
        {"index": 1, "label": 0, "predicted": 1, "probability": pytest.approx(0.7)},
        {"index": 4, "label": 2, "predicted": 0, "probability": pytest.approx(0.6)},
    ]
    assert summary["mean_confidence"] == pytest.approx(0.7)


def test_only_the_worst_misread_are_listed() -> None:
    probabilities = np.tile([0.3, 0.7], (100, 1))
    listed = scores.misread(probabilities, np.zeros(100, dtype=np.int64))
    assert [image["index"] for image in listed] == list(range(scores.MISREAD))
