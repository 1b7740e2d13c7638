"""The models, from raw pixels to probabilities."""

from __future__ import annotations

from typing import Any

import keras
import numpy.typing as npt
import tensorflow as tf

from hyperflow.fashion.convolution import Convolution, Exchange, Normalised
from hyperflow.fashion.recipes import Recipe

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

MEAN, DEVIATION = 0.286, 0.353
"""Of Fashion-MNIST's training pixels, scaled to 0..1; near enough to those of other images."""

MOVES = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))
"""By how many pixels an image is moved, down and to the right, for each of the views that an answer may average."""


class Network:
    """A body that sees, dropout, and a head that decides.

    Dropout is the caller's, so that its mask can be drawn for the whole batch of all workers. A network that learns
    from mirrored images also answers with the mean over an image and its mirror image. With several views, it answers
    with the mean over the image and the same moved by a pixel.

    Args:
        recipe: What it is made of.
        classes: Number of classes.
        precision: Of the convolutions while it learns: `float32` or `bfloat16`; all variables are float32.
        shape: Height, width and channels of an image.
        views: How many of MOVES an answer is the mean over.
    """

    def __init__(
        self, recipe: Recipe, classes: int, precision: str = "float32", shape: Shape = (28, 28, 1), views: int = 1
    ) -> None:
        self.shape, self._classes, self._views = shape, classes, views
        self._mirrors = recipe.mirrors
        self._precision = tf.dtypes.as_dtype(precision)
        self._convolutions = _convolutions(recipe, shape[-1])
        width = _width(recipe, shape)
        hidden = _dense(width, recipe.units)
        self._before, self._after = ([], [hidden]) if self._convolutions else ([hidden], [])
        self._last = _dense(recipe.units, classes, activation=None)
        self.features = width if self._convolutions else recipe.units
        """Width of what dropout works on."""

    @property
    def trained(self) -> list[keras.Variable]:
        """The variables that gradients change, in a fixed order."""
        layers = [*self._before, *self._after, self._last]
        return [
            *(variable for convolution in self._convolutions for variable in convolution.trained),
            *(variable for layer in layers for variable in layer.weights),
        ]

    @property
    def weights(self) -> list[keras.Variable]:
        """All variables, in a fixed order: the trained ones, then the statistics of batch normalisation."""
        return [*self.trained, *(value for convolution in self._convolutions for value in convolution.statistics)]

    def learn(self, pixels: tf.Tensor, mask: tf.Tensor, exchange: Exchange | None) -> tf.Tensor:
        """Compute the logits of a worker's share of a batch, and take in what normalisation must remember.

        Args:
            pixels: [n, height, width, channels], 0 to 255.
            mask: [n, features], what dropout multiplies by.
            exchange: Sums over the workers; None where there is one.
        """
        hidden = tf.cast(_standardised(pixels), self._precision)
        for convolution in self._convolutions:
            hidden = convolution.learn(hidden, exchange)
        return self._decide(hidden, mask)

    def probabilities(self, pixels: tf.Tensor) -> tf.Tensor:
        """Compute probabilities of raw pixels, as they are served."""
        images = tf.reshape(pixels, (-1, *self.shape))
        if self._views == 1:
            return self._both_ways(images)
        answers = self._both_ways(self._moved(images))  # in one go, so that the weights are read once
        return tf.reduce_mean(tf.reshape(answers, (self._views, -1, self._classes)), axis=0)

    def _moved(self, images: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
        height, width, _ = self.shape
        views = [padded[:, 1 - y : 1 - y + height, 1 - x : 1 - x + width] for y, x in MOVES[: self._views]]
        return tf.concat(views, axis=0)

    def _both_ways(self, images: tf.Tensor) -> tf.Tensor:
        straight = self._answer(images)
        return (straight + self._answer(tf.reverse(images, axis=[2]))) / 2.0 if self._mirrors else straight

    def _answer(self, images: tf.Tensor) -> tf.Tensor:
        hidden = _standardised(images)
        for convolution in self._convolutions:
            hidden = convolution.answer(hidden)
        return tf.nn.softmax(self._decide(hidden, None))

    def _decide(self, hidden: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        features = tf.cast(tf.reshape(hidden, (tf.shape(hidden)[0], -1)), tf.float32)
        for layer in self._before:
            features = layer(features)
        if mask is not None:
            features = features * mask
        for layer in self._after:
            features = layer(features)
        return self._last(features)


def _standardised(pixels: tf.Tensor) -> tf.Tensor:
    return (tf.cast(pixels, tf.float32) / 255.0 - MEAN) / DEVIATION


def _convolutions(recipe: Recipe, before: int) -> list[Convolution]:
    made: list[Convolution] = []
    kind = Normalised if recipe.normalises else Convolution
    for block in recipe.blocks:
        for place, channels in enumerate(block):
            made.append(kind(made[-1].channels if made else before, channels, place == 0))
    return made


def _width(recipe: Recipe, shape: Shape) -> int:
    """Return how many values the convolutions give for one image."""
    height, width = (side >> len(recipe.blocks) for side in shape[:2])
    return height * width * (recipe.blocks[-1][-1] if recipe.blocks else shape[2])


def _dense(before: int, units: int, activation: str | None = "relu") -> keras.layers.Dense:
    layer = keras.layers.Dense(units, activation=activation)
    layer.build((None, before))
    return layer
