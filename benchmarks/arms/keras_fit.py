"""Keras' own `fit` on the trainer's network: the same layers, optimizer, schedule, batch and varied images."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.arms.asked import Settings, arguments_of
from benchmarks.arms.ours_fit import level, prepared
from hyperflow.fashion.arguments import Arguments
from hyperflow.fashion.augmentation import cut, moved
from hyperflow.fashion.learning import Images
from hyperflow.fashion.network import DEVIATION, MEAN
from hyperflow.fashion.recipes import RECIPES, Recipe


class Triangle(keras.optimizers.schedules.LearningRateSchedule):
    """The trainer's rate: up to the peak, then down to nothing at the last step."""

    def __init__(self, peak: float, warm: int, total: int) -> None:
        self.peak, self.warm, self.total = peak, warm, total

    def __call__(self, step: Any) -> Any:
        done = tf.cast(step, tf.float32) + 1.0
        falling = (self.total + 1 - done) / (self.total + 1 - self.warm)
        return self.peak * tf.minimum(done / max(self.warm, 1), falling)

    def get_config(self) -> dict[str, float]:
        return {"peak": self.peak, "warm": self.warm, "total": self.total}


def network(arguments: Arguments, shape: tuple[int, ...], classes: int, steps: int) -> keras.Model:
    """Build and compile what the trainer's recipe says; `steps` are those of an epoch."""
    recipe: Recipe = RECIPES[arguments.model]
    layers: list[Any] = [keras.Input(shape), keras.layers.Rescaling(1 / 255 / DEVIATION, -MEAN / DEVIATION)]
    for block in recipe.blocks:
        for place, channels in enumerate(block):
            layers.append(keras.layers.Conv2D(channels, 3, padding="same"))
            layers += [keras.layers.MaxPooling2D()] if place == 0 else []
            layers += [keras.layers.BatchNormalization(momentum=0.9)] if recipe.normalises else []
            layers.append(keras.layers.ReLU())
    dropout, dense = keras.layers.Dropout(arguments.dropout_rate), keras.layers.Dense(recipe.units, "relu")
    layers += [keras.layers.Flatten(), *([dropout, dense] if recipe.blocks else [dense, dropout])]
    layers.append(keras.layers.Dense(classes, "softmax", dtype="float32"))
    model = keras.Sequential(layers)
    total = steps * arguments.epochs
    rate = Triangle(arguments.learning_rate, int(total * recipe.warm_up), total)
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=arguments.weight_decay, beta_2=recipe.beta),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.smoothing),
    )
    return model


def varied(images: Images, arguments: Arguments, classes: int) -> tf.data.Dataset:
    """Give batches without end to their epoch, mirrored, moved and cut as the recipe says."""
    recipe = RECIPES[arguments.model]

    def change(pixels: Any, labels: Any) -> Any:
        if recipe.mirrors:
            pixels = tf.image.random_flip_left_right(pixels)
        pixels = moved(pixels, tf.random.uniform((arguments.batch_size, 2)), recipe.shift)
        pixels = cut(pixels, tf.random.uniform((arguments.batch_size, 2)), recipe.cutout)
        return pixels, tf.one_hot(labels, classes)

    data = tf.data.Dataset.from_tensor_slices((images.pixels, images.labels)).cache()
    data = data.shuffle(len(images.labels), seed=arguments.seed).batch(arguments.batch_size, drop_remainder=True)
    return data.map(change, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def accuracy(model: keras.Model, images: Images, mirrors: bool) -> float:
    """Score as the trainer's network answers: with the mean over an image and its mirror image."""
    ways = [images.pixels, images.pixels[:, :, ::-1]] if mirrors else [images.pixels]
    answers = sum(model.predict(way, batch_size=1000, verbose=0) for way in ways)
    return float(np.mean(np.argmax(answers, -1) == images.labels))


class Clock(keras.callbacks.Callback):
    """Print a line for each epoch; the time for testing is not counted."""

    def __init__(self, test: Images, mirrors: bool, count: int) -> None:
        super().__init__()
        self.test, self.mirrors, self.count, self.total = test, mirrors, count, 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = time.monotonic() - self.began
        self.total += seconds
        level(epoch + 1, seconds, self.total, self.count, accuracy(self.model, self.test, self.mirrors))


def main(settings: Settings) -> None:
    arguments = arguments_of(settings)
    images, _, test, classes = prepared(arguments)
    if arguments.precision == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    keras.utils.set_random_seed(arguments.seed)
    steps = len(images.labels) // arguments.batch_size
    model = network(arguments, images.pixels.shape[1:], classes, steps)
    clock = Clock(test, RECIPES[arguments.model].mirrors, steps * arguments.batch_size)
    model.fit(varied(images, arguments, classes), epochs=arguments.epochs, verbose=0, callbacks=[clock])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
