"""Learning: one step that any number of workers takes together, the epoch around it, and the evaluation.

Order, mirroring, shifts and dropout are drawn for the whole batch from the seed and the step's number, and each worker
takes its share. So the number of workers changes nothing but the time, and a restart goes on as if there had been none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from hyperflow.datasets.idx import Bytes
from hyperflow.errors import InvalidParameter
from hyperflow.fashion.arguments import Arguments
from hyperflow.fashion.augmentation import cut, moved
from hyperflow.fashion.network import Array, Network
from hyperflow.fashion.precision import precision
from hyperflow.fashion.recipes import RECIPES

_EVALUATION_BATCH, _EVALUATION_NUMBERS = 1000, 4 << 20  # the second bounds the memory where images are large
_ORDER, _MIRROR = 0, 1  # NumPy's streams
_CUT, _DROPOUT, _MOVE = 0, 2, 3  # TensorFlow's


@dataclass(frozen=True)
class Images:
    """Images, [n, height, width, channels], with their labels, [n]."""

    pixels: Bytes
    labels: Bytes

    def take(self, indices: Array) -> Images:
        """Select some."""
        return Images(self.pixels[indices], self.labels[indices])


def split(images: Images, arguments: Arguments) -> tuple[Images, Images]:
    """Divide images into those to learn from and those to validate with, by the seed.

    Raises:
        InvalidParameter: A fraction leaves no image.
    """
    order = np.random.default_rng(arguments.seed).permutation(len(images.labels))
    validation, rest = np.split(order, [round(len(order) * arguments.validation_fraction)])
    learning = rest[: round(len(rest) * arguments.train_fraction)]
    if not len(validation):
        raise InvalidParameter("validation_fraction", arguments.validation_fraction, "a share of one image at least")
    if not len(learning):
        raise InvalidParameter("train_fraction", arguments.train_fraction, "a share of one image at least")
    return images.take(learning), images.take(validation)


class Learner:
    """A network, its optimizer and the images it learns from.

    Args:
        strategy: How the replicas work together.
        arguments: How to learn.
        images: What to learn from.
        classes: Number of classes.

    Raises:
        InvalidParameter: A batch has fewer images than there are replicas.
    """

    def __init__(self, strategy: tf.distribute.Strategy, arguments: Arguments, images: Images, classes: int) -> None:
        self.strategy, self.arguments, self.classes = strategy, arguments, classes
        self.recipe = RECIPES[arguments.model]
        self.batch = min(arguments.batch_size, len(images.labels))
        if self.batch < strategy.num_replicas_in_sync:
            raise InvalidParameter("batch_size", self.batch, f"at least the {strategy.num_replicas_in_sync} workers")
        self.steps = len(images.labels) // self.batch
        self.pixels, self.labels = tf.constant(images.pixels), tf.constant(images.labels)
        halves = np.random.default_rng((arguments.seed, _MIRROR)).random(len(images.labels)) < 0.5
        self._mirrored_first = tf.constant(halves)
        keras.utils.set_random_seed(arguments.seed)
        with strategy.scope():
            self.network = Network(
                self.recipe, classes, precision(arguments.precision), images.pixels.shape[1:], arguments.views
            )
            self.optimizer = self._optimizer()
            self.optimizer.build(self.network.trained)
        # without AutoGraph, whose rewriting of Python takes longer than all the rest of tracing
        self._run_epoch = tf.function(self._epoch, autograph=False)
        self._infer = tf.function(self.network.probabilities, autograph=False, reduce_retracing=True)

    def epoch(self, number: int) -> tuple[float, float]:
        """Learn from every image once; return the mean loss and accuracy on the way. The first number is 0."""
        order = np.random.default_rng((self.arguments.seed, _ORDER, number)).permutation(len(self.labels))
        batches = order[: self.steps * self.batch].reshape(self.steps, self.batch).astype(np.int32)
        loss, accuracy = self._run_epoch(tf.constant(batches), tf.constant(number * self.steps)).numpy() / self.steps
        return float(loss), float(accuracy)

    def probabilities(self, pixels: Bytes) -> Array:
        """Compute probabilities for any number of images."""
        flat = pixels.reshape(len(pixels), -1)
        rows = max(1, min(_EVALUATION_BATCH, _EVALUATION_NUMBERS // flat.shape[1]) // self.arguments.views)
        batches = (flat[start : start + rows] for start in range(0, len(flat), rows))
        return np.concatenate([self._infer(tf.constant(batch)).numpy() for batch in batches])

    @property
    def epochs_done(self) -> int:
        """Epochs that the optimizer has seen."""
        return int(self.optimizer.iterations.numpy()) // self.steps

    @property
    def weights(self) -> list[Array]:
        """The network's values."""
        return self.state[: len(self.network.weights)]

    @property
    def state(self) -> list[Array]:
        """All values that a restart needs: the network's, then the optimizer's."""
        return [keras.ops.convert_to_numpy(variable) for variable in self._variables]

    def agree(self, state: Sequence[Array]) -> None:
        """Set all values, on all workers, to those that the leading one has; return when all have come here."""
        if self.strategy.num_replicas_in_sync == 1:
            for variable, value in zip(self._variables, state, strict=True):
                variable.assign(value)
            return
        constants = [tf.constant(value) for value in state]

        def share() -> list[tf.Tensor]:
            context = tf.distribute.get_replica_context()
            leads = tf.equal(context.replica_id_in_sync_group, 0)
            return [context.all_reduce("SUM", tf.where(leads, value, tf.zeros_like(value))) for value in constants]

        shared = tf.function(self.strategy.run)(share)
        for variable, value in zip(self._variables, shared, strict=True):
            variable.assign(self.strategy.experimental_local_results(value)[0])

    def digest(self) -> str:
        """Identify the weights: equal on two workers when all their bits are."""
        content = b"".join(value.tobytes() for value in self.weights)
        return hashlib.sha256(content).hexdigest()[:16]

    @property
    def _variables(self) -> list[keras.Variable]:
        return [*self.network.weights, *self.optimizer.variables]

    def _optimizer(self) -> keras.optimizers.Optimizer:
        total = self.steps * self.arguments.epochs
        schedule = _Triangle(self.arguments.learning_rate, int(total * self.recipe.warm_up), total)
        return keras.optimizers.AdamW(schedule, weight_decay=self.arguments.weight_decay, beta_2=self.recipe.beta)

    def _epoch(self, batches: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        def after(step: tf.Tensor, totals: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            replicas = self.strategy.run(self._step, args=(batches[step], first + step))
            return step + 1, totals + self.strategy.experimental_local_results(replicas)[0]

        return tf.while_loop(lambda step, _: step < self.steps, after, (tf.constant(0), tf.zeros(2)))[1]

    def _step(self, batch: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """Learn from this replica's share of a batch; return loss and accuracy of the whole."""
        context = tf.distribute.get_replica_context()
        share = slice(context.replica_id_in_sync_group, None, context.num_replicas_in_sync)
        labels = tf.cast(tf.gather(self.labels, batch[share]), tf.int32)
        pixels = self._varied(batch, number, share) if self.recipe.mirrors else tf.gather(self.pixels, batch[share])
        kept = 1.0 - self.arguments.dropout_rate
        mask = tf.cast(self._draw(_DROPOUT, number, (self.batch, self.network.features))[share] < kept, tf.float32)
        alone = context.num_replicas_in_sync == 1
        with tf.GradientTape() as tape:
            logits = self.network.learn(pixels, mask / kept, None if alone else partial(context.all_reduce, "SUM"))
            losses = tf.nn.softmax_cross_entropy_with_logits(self._smoothed(labels), logits)
            loss = tf.reduce_sum(losses) / self.batch
        trained = self.network.trained
        gradients = tape.gradient(loss, [variable.value for variable in trained])
        hits = tf.equal(tf.argmax(logits, -1, tf.int32), labels)
        accuracy = tf.reduce_sum(tf.cast(hits, tf.float32)) / self.batch
        *gradients, scores = context.all_reduce("SUM", [*gradients, tf.stack([loss, accuracy])])
        self.optimizer.apply_gradients(zip(gradients, trained, strict=True))
        return scores

    def _varied(self, batch: tf.Tensor, number: tf.Tensor, share: slice) -> tf.Tensor:
        """Return a share of a batch's images, mirrored in every second epoch, moved by some pixels and cut.

        Which half is mirrored first is drawn once, so that in two epochs each image is seen both ways (K. Jordan,
        "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, section 3.6).
        """
        pixels = tf.gather(self.pixels, batch[share])
        odd = tf.cast(number // self.steps % 2, tf.bool)
        mirrored = tf.math.logical_xor(tf.gather(self._mirrored_first, batch[share]), odd)
        pixels = tf.where(mirrored[:, None, None, None], tf.reverse(pixels, axis=[2]), pixels)
        pixels = moved(pixels, self._draw(_MOVE, number, (self.batch, 2))[share], self.recipe.shift)
        return cut(pixels, self._draw(_CUT, number, (self.batch, 2))[share], self.recipe.cutout)

    def _smoothed(self, labels: tf.Tensor) -> tf.Tensor:
        smoothing = self.recipe.smoothing
        return tf.one_hot(labels, self.classes) * (1.0 - smoothing) + smoothing / self.classes

    def _draw(self, purpose: int, step: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
        seed = tf.stack([tf.constant(self.arguments.seed * 4 + purpose, tf.int64), tf.cast(step, tf.int64)])
        return tf.random.stateless_uniform(shape, seed)


class _Triangle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A rate that rises from nothing to its peak, and falls to nothing at the last step."""

    def __init__(self, peak: float, warm: int, total: int) -> None:
        self._peak, self._warm, self._total = peak, warm, total

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        done = tf.cast(step, tf.float32) + 1.0
        falling = (self._total + 1 - done) / (self._total + 1 - self._warm)
        return self._peak * tf.minimum(done / max(self._warm, 1), falling)

    def get_config(self) -> dict[str, float]:
        """Return what makes the same again."""
        return {"peak": self._peak, "warm": self._warm, "total": self._total}
