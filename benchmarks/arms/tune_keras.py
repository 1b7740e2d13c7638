"""KerasTuner's Bayesian search over Keras' own `fit` of the same network, on the same data."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from typing import Any

import keras
import keras_tuner
import tensorflow as tf

from benchmarks.arms.keras_fit import accuracy, network, varied
from benchmarks.arms.ours_fit import arguments_of, prepared
from benchmarks.arms.spaces import SPACES, ask_keras
from hyperflow.fashion.recipes import RECIPES


class Reached(keras_tuner.errors.FatalError):
    """The goal is reached: the one kind of error at which KerasTuner ends a search."""


class Search(keras_tuner.HyperModel):
    """A model for each trial's values, and its training."""

    def __init__(self, asked: dict[str, Any]) -> None:
        super().__init__()
        self.asked, self.best, self.trials = asked, 0.0, 0
        self.images, self.validation, _, self.classes = prepared(arguments_of(asked))
        if arguments_of(asked).precision == "bfloat16":
            keras.mixed_precision.set_global_policy("mixed_bfloat16")

    def _arguments(self, hp: Any) -> Any:
        return arguments_of(
            {**self.asked, "arguments": {**self.asked["arguments"], **ask_keras(hp, SPACES[self.asked["space"]])}}
        )

    def build(self, hp: Any) -> keras.Model:
        arguments = self._arguments(hp)
        steps = len(self.images.labels) // arguments.batch_size
        return network(arguments, self.images.pixels.shape[1:], self.classes, steps)

    def fit(self, hp: Any, model: keras.Model, *_: Any, **__: Any) -> float:
        """Train one trial, an epoch at a time; return the best accuracy on the validation images."""
        arguments, reached, self.trials = self._arguments(hp), 0.0, self.trials + 1
        data: tf.data.Dataset = varied(self.images, arguments, self.classes)

        def score(epoch: int, logs: Any) -> None:
            nonlocal reached
            reached = max(reached, accuracy(model, self.validation, RECIPES[arguments.model].mirrors))
            self.best = max(self.best, reached)
            if self.best >= self.asked["target"]:
                raise Reached

        watch = keras.callbacks.LambdaCallback(on_epoch_end=score)
        model.fit(data, epochs=arguments.epochs, verbose=0, callbacks=[watch])
        return reached


def main() -> None:
    asked = json.loads(sys.argv[1])
    search = Search(asked)
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.BayesianOptimization(
            search, objective=keras_tuner.Objective("default_objective", "max"), max_trials=asked["trials"],
            seed=asked["seed"], directory=folder,
        )  # fmt: skip
        with contextlib.suppress(Reached):
            tuner.search(verbose=0)
    print(json.dumps({"best": search.best, "trials": search.trials}))


if __name__ == "__main__":
    main()
