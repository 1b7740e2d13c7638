"""The tests' figures, against SciPy and against cases small enough to work out by hand."""

from __future__ import annotations

import base64
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hyperflow.evaluation import compare
from hyperflow.volume.evaluation import EvaluatedData, Evaluation


@pytest.mark.parametrize(
    ("gained", "lost"), [(0, 0), (1, 0), (0, 7), (5, 5), (30, 12), (420, 360), (3000, 2900), (5000, 1)]
)
def test_mcnemar_is_the_exact_binomial(gained: int, lost: int) -> None:
    expected = stats.binomtest(gained, gained + lost, 0.5, "greater").pvalue if gained + lost else 1.0
    assert compare.mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_only_what_one_alone_reads_right_counts() -> None:
    labels = np.array([0, 1, 2, 3, 4, 5], dtype=np.uint8)
    candidate = np.array([0, 1, 2, 3, 9, 9], dtype=np.uint8)
    serving = np.array([0, 9, 9, 9, 4, 9], dtype=np.uint8)
    found = compare.paired(candidate, serving, labels)
    assert (found.images, found.gained, found.lost) == (6, 3, 1)
    assert (found.candidate, found.serving) == (4 / 6, 2 / 6)
    assert found.p_value == 5 / 16  # three or four heads of four


def test_equal_models_are_noise() -> None:
    labels = np.arange(10, dtype=np.uint8)
    assert compare.paired(labels, labels, labels).p_value == 1.0


def test_noise_is_rarely_taken_for_better() -> None:
    """Two models that are equally good: at most one comparison in twenty may say otherwise."""
    generator = np.random.default_rng(1)
    labels = np.zeros(2000, dtype=np.uint8)
    answers = [(generator.random((2, 2000)) > 0.9).astype(np.uint8) for _ in range(400)]
    assert sum(compare.paired(one, other, labels).p_value < 0.05 for one, other in answers) / 400 < 0.07


def test_unpaired_is_the_z_test_of_two_proportions() -> None:
    labels, serving = np.zeros(10_000, dtype=np.uint8), np.repeat(np.uint8([0, 1]), [8800, 1200])
    found = compare.unpaired(0.89, serving, labels)
    z = 0.01 / math.sqrt(2 * 0.885 * 0.115 / 10_000)
    assert found.p_value == pytest.approx(stats.norm.sf(z))
    assert found.gained == -1


def test_answers_are_read_from_an_evaluation_of_the_same_data_alone() -> None:
    answers = np.array([3, 1, 2], dtype=np.uint8)
    told = Evaluation(data=EvaluatedData("m", "d1"), predictions=base64.b64encode(answers.tobytes()).decode())
    assert compare.predictions(told, "d1", 3).tolist() == [3, 1, 2]  # type: ignore[union-attr]
    assert compare.predictions(told, "d2", 3) is None
    assert compare.predictions(told, "d1", 4) is None
    assert compare.predictions(replace(told, predictions="?"), "d1", 3) is None
    assert compare.predictions(Evaluation(), "d1", 3) is None
