"""Variations of images, each against what its draws say."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hyperflow.fashion.augmentation import cut, moved

ALL = np.arange(1, 2 * 9 * 12 * 1 + 1, dtype=np.uint8).reshape(2, 9, 12, 1)


def test_draws_say_how_far_an_image_moves() -> None:
    """The lowest draw brings in an edge above and on the left, the highest below and on the right."""
    first, second = moved(tf.constant(ALL), tf.constant([[0.0, 0.0], [0.999, 0.5]]), 1).numpy()
    assert (first[1:, 1:] == ALL[0, :-1, :-1]).all()
    assert not first[0].any()
    assert not first[:, 0].any()
    assert (second[:-1] == ALL[1, 1:]).all()
    assert not second[-1].any()


@pytest.mark.parametrize(
    ("draws", "rows", "columns"),
    [((0.5, 0.5), slice(3, 6), slice(5, 8)), ((0.0, 0.999), slice(0, 2), slice(10, 12))],
)
def test_a_square_of_at_most_a_third_takes_the_mean(draws: tuple[float, float], rows: slice, columns: slice) -> None:
    """At the edge a part of it is outside."""
    result = cut(tf.constant(ALL), tf.constant([draws, draws]), 8).numpy()
    expected = ALL.copy()
    expected[:, rows, columns] = 73
    assert (result == expected).all()


def test_nothing_is_asked_for() -> None:
    images = tf.constant(ALL)
    assert moved(images, tf.zeros((2, 2)), 0) is images
    assert cut(images, tf.zeros((2, 2)), 0) is images
