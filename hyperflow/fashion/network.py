"""The models, from raw pixels to probabilities."""

from __future__ import annotations

from typing import Any

import keras
import numpy.typing as npt
import tensorflow as tf

from hyperflow.datasets import IMAGE_SHAPE

Array = npt.NDArray[Any]

PIXELS = IMAGE_SHAPE[0] * IMAGE_SHAPE[1]

# Mean and deviation of Fashion-MNIST's training pixels, scaled to 0..1.
_MEAN, _DEVIATION = 0.286, 0.353

_CHANNELS = (16, 32, 64)
_UNITS = 128


class Network:
    """A body that sees, dropout, and a head that decides.

    Dropout is the caller's, so that its mask can be drawn for the whole batch of all workers. A network that learns
    from mirrored images also answers with the mean over an image and its mirror image.

    Args:
        model: `cnn` or `mlp`.
        classes: Number of classes.
    """

    def __init__(self, model: str, classes: int) -> None:
        self.mirrors = model == "cnn"
        self.body = _convolutions() if model == "cnn" else _dense()
        self.head = _head(self.body.output_shape[-1], _UNITS if model == "cnn" else 0, classes)

    @property
    def features(self) -> int:
        """Width of what the body gives to the head."""
        return int(self.body.output_shape[-1])

    @property
    def weights(self) -> list[keras.Variable]:
        """All variables, in a fixed order; every one is trained."""
        return [*self.body.weights, *self.head.weights]

    def logits(self, pixels: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Compute logits of [n, 28, 28, 1] raw pixels; `mask` multiplies the features."""
        features = self.body((tf.cast(pixels, tf.float32) / 255.0 - _MEAN) / _DEVIATION)
        return self.head(features if mask is None else features * mask)

    def probabilities(self, pixels: tf.Tensor) -> tf.Tensor:
        """Compute probabilities of raw pixels, as they are served."""
        images = tf.reshape(pixels, (-1, *IMAGE_SHAPE, 1))
        straight = tf.nn.softmax(self.logits(images))
        if not self.mirrors:
            return straight
        return (straight + tf.nn.softmax(self.logits(tf.reverse(images, axis=[2])))) / 2.0


def _convolutions() -> keras.Model:
    # No batch normalisation: on CPUs it doubles the time of an epoch.
    layers: list[keras.Layer] = [keras.Input((*IMAGE_SHAPE, 1))]
    for channels in _CHANNELS:
        layers.append(
            keras.layers.Conv2D(channels, 3, padding="same", activation="relu", kernel_initializer="he_normal")
        )
        layers.append(keras.layers.MaxPooling2D())
    return keras.Sequential([*layers, keras.layers.Flatten()])


def _dense() -> keras.Model:
    layers = keras.layers
    return keras.Sequential([keras.Input((*IMAGE_SHAPE, 1)), layers.Flatten(), layers.Dense(_UNITS, activation="relu")])


def _head(features: int, units: int, classes: int) -> keras.Model:
    hidden = [keras.layers.Dense(units, activation="relu")] if units else []
    return keras.Sequential([keras.Input((features,)), *hidden, keras.layers.Dense(classes)])
