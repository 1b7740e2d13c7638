"""Images that are varied while a network learns from them; what is drawn comes from outside, from 0 to 1."""

from __future__ import annotations

import tensorflow as tf

from hyperflow.fashion.network import MEAN


def moved(pixels: tf.Tensor, draws: tf.Tensor, most: int) -> tf.Tensor:
    """Move each of [n, height, width, channels] images by up to `most` pixels to any side; draws: [n, 2]."""
    if not most:
        return pixels
    padded = tf.pad(pixels, [[0, 0], [most, most], [most, most], [0, 0]])
    starts = tf.cast(draws * (2 * most + 1), tf.int32)
    for axis, side in enumerate(pixels.shape[1:3], start=1):
        padded = tf.gather(padded, starts[:, axis - 1, None] + tf.range(side), axis=axis, batch_dims=1)
    return padded


def cut(pixels: tf.Tensor, draws: tf.Tensor, side: int) -> tf.Tensor:
    """Have the mean take the place of a square of each of [n, height, width, channels] images; draws: [n, 2].

    Its middle is any pixel, and its side at most a third of the image's (T. DeVries, G. Taylor, "Improved
    Regularization of Convolutional Neural Networks with Cutout", 2017).
    """
    if not side:
        return pixels
    sizes = pixels.shape[1:3]
    side = min(side, min(sizes) // 3)

    def within(axis: int) -> tf.Tensor:
        first = tf.cast(draws[:, axis, None] * sizes[axis], tf.int32) - side // 2
        return tf.logical_and(tf.range(sizes[axis]) >= first, tf.range(sizes[axis]) < first + side)

    inside = tf.logical_and(within(0)[:, :, None], within(1)[:, None, :])
    return tf.where(inside[..., None], tf.cast(round(MEAN * 255), pixels.dtype), pixels)
