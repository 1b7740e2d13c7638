"""A convolution with max-pooling, batch normalisation by the statistics of the whole batch, and ReLU."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import keras
import tensorflow as tf

Exchange = Callable[[tf.Tensor], tf.Tensor]
"""Sums a tensor over the workers of a training."""

_EPSILON = 1e-3
_MOMENTUM = 0.9
_SMALL = 16  # pixels of an image up to which products give a bfloat16 kernel's gradient in a fifth of oneDNN's time
_PLACES = [*itertools.product(range(3), range(3))]


class Convolution:
    """3 × 3 convolution, max-pooling where asked for, and ReLU.

    Pooling first makes the rest four times smaller.

    Args:
        before: Channels of what comes in.
        channels: Channels of what goes out.
        pools: Whether a 2 × 2 max-pooling halves height and width.
    """

    def __init__(self, before: int, channels: int, pools: bool) -> None:
        self.channels, self._pools = channels, pools
        self._kernel = keras.Variable(keras.initializers.HeNormal(), (3, 3, before, channels))
        self._shift = keras.Variable("zeros", (channels,))

    @property
    def trained(self) -> list[keras.Variable]:
        """The variables that gradients change."""
        return [self._kernel, self._shift]

    @property
    def statistics(self) -> list[keras.Variable]:
        """The variables that learning changes otherwise."""
        return []

    def learn(self, inputs: tf.Tensor, exchange: Exchange | None) -> tf.Tensor:
        """Compute [n, height, width, channels] in the inputs' precision, and take the batch's statistics in.

        Args:
            inputs: [n, height, width, channels], a worker's share of a batch.
            exchange: Sums over the workers; None where there is one.
        """
        del exchange
        return self.answer(inputs)

    def answer(self, inputs: tf.Tensor) -> tf.Tensor:
        """Compute [n, height, width, channels] in the inputs' precision."""
        return tf.nn.relu(self._convolve(inputs) + tf.cast(self._shift.value, inputs.dtype))

    def _convolve(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.cast(self._kernel.value, inputs.dtype)
        is_small = inputs.dtype == tf.bfloat16 and inputs.shape[1] * inputs.shape[2] <= _SMALL
        hidden = _convolved(inputs, kernel) if is_small else tf.nn.conv2d(inputs, kernel, 1, "SAME")
        return tf.nn.max_pool2d(hidden, 2, 2, "VALID") if self._pools else hidden


class Normalised(Convolution):
    """A convolution with batch normalisation before its ReLU.

    While it learns, mean and variance are those of the batch of all workers, so that their number changes nothing. What
    it answers with are their moving averages.
    """

    def __init__(self, before: int, channels: int, pools: bool) -> None:
        super().__init__(before, channels, pools)
        self._scale = keras.Variable("ones", (channels,))
        # The same on every worker by the exchange, so the first one's value will do.
        self._mean, self._variance, self._seen = (
            keras.Variable(first, shape, trainable=False, aggregation="only_first_replica")
            for first, shape in (("zeros", (channels,)), ("ones", (channels,)), ("zeros", ()))
        )

    @property
    def trained(self) -> list[keras.Variable]:
        """The variables that gradients change."""
        return [*super().trained, self._scale]

    @property
    def statistics(self) -> list[keras.Variable]:
        """Moving averages of mean and variance, and how many batches they are of."""
        return [self._mean, self._variance, self._seen]

    def learn(self, inputs: tf.Tensor, exchange: Exchange | None) -> tf.Tensor:
        """Compute [n, height, width, channels] in the inputs' precision, and take the batch's statistics in.

        Args:
            inputs: [n, height, width, channels], a worker's share of a batch.
            exchange: Sums over the workers; None where there is one.
        """
        hidden = self._convolve(inputs)
        hidden, mean, variance = self._alone(hidden) if exchange is None else self._together(hidden, exchange)
        # A plain mean at first: an average that starts from nothing would be wrong for many batches.
        kept = tf.minimum(self._seen / (self._seen + 1.0), _MOMENTUM)
        self._mean.assign(self._mean * kept + mean * (1.0 - kept))
        self._variance.assign(self._variance * kept + variance * (1.0 - kept))
        self._seen.assign(self._seen + 1.0)
        return tf.nn.relu(hidden)

    def answer(self, inputs: tf.Tensor) -> tf.Tensor:
        """Compute [n, height, width, channels] with the moving averages."""
        return tf.nn.relu(self._normalised(self._convolve(inputs), self._mean.value, self._variance.value))

    def _alone(self, hidden: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalise by one operation, which takes less time than its parts."""
        scale, shift = self._scale.value, self._shift.value
        done = tf.raw_ops.FusedBatchNormV3(
            x=hidden, scale=scale, offset=shift, mean=[], variance=[], epsilon=_EPSILON, is_training=True
        )
        return done.y, done.batch_mean, done.batch_variance

    def _together(self, hidden: tf.Tensor, exchange: Exchange) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        whole = tf.cast(hidden, tf.float32)
        count = exchange(tf.cast(tf.size(hidden) / self.channels, tf.float32))
        mean = exchange(tf.reduce_sum(whole, [0, 1, 2])) / count
        variance = exchange(tf.reduce_sum(tf.square(whole), [0, 1, 2])) / count - tf.square(mean)
        return self._normalised(hidden, mean, variance), mean, variance

    def _normalised(self, hidden: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        factor = self._scale.value * tf.math.rsqrt(variance + _EPSILON)
        return hidden * tf.cast(factor, hidden.dtype) + tf.cast(self._shift.value - mean * factor, hidden.dtype)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _convolved(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
    """Convolve as `conv2d` does; the gradient of each of the kernel's 3 × 3 places is one product of matrices."""
    shape = tf.shape(inputs)

    def gradients(above: tf.Tensor) -> list[tf.Tensor]:
        height, width, channels = inputs.shape[1:]
        padded = tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]])
        right = tf.reshape(above, (-1, above.shape[3]))
        lefts = (padded[:, row : row + height, column : column + width] for row, column in _PLACES)
        places = [tf.matmul(tf.reshape(left, (-1, channels)), right, transpose_a=True) for left in lefts]
        below = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=shape, filter=kernel, out_backprop=above, strides=[1, 1, 1, 1], padding="SAME"
        )
        return [below, tf.reshape(tf.stack(places), kernel.shape)]

    return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradients
