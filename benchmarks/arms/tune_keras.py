"""KerasTuner's Bayesian search over Keras' own `fit` of the same network, on the same data."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from typing import Any

import keras
import keras_tuner

from benchmarks.arms.asked import arguments_of
from benchmarks.arms.keras_fit import accuracy, network, varied
from benchmarks.arms.ours_fit import prepared
from benchmarks.arms.spaces import SPACES, ask_keras
from hyperflow.fashion.recipes import RECIPES


class Reached(keras_tuner.errors.FatalError):
    """The goal is reached: the one kind of error at which KerasTuner ends a search."""


class Search(keras_tuner.BayesianOptimization):
    """Its search, where a trial is one training that ends the search at the goal."""

    def __init__(self, asked: dict[str, Any], folder: str) -> None:
        self.asked, self.best, self.trials = asked, 0.0, 0
        self.images, self.validation, _, self.classes = prepared(arguments_of(asked))
        if arguments_of(asked).precision == "bfloat16":
            keras.mixed_precision.set_global_policy("mixed_bfloat16")
        space = keras_tuner.HyperParameters()
        ask_keras(space, SPACES[asked["space"]])
        super().__init__(
            hyperparameters=space, objective=keras_tuner.Objective("accuracy", "max"), max_trials=asked["trials"],
            seed=asked["seed"], directory=folder,
        )  # fmt: skip

    def run_trial(self, trial: Any, *_: Any, **__: Any) -> float:
        """Train one trial, an epoch at a time; return the best accuracy on the validation images."""
        values = ask_keras(trial.hyperparameters, SPACES[self.asked["space"]])
        arguments = arguments_of({**self.asked, "arguments": {**self.asked["arguments"], **values}})
        steps = len(self.images.labels) // arguments.batch_size
        model = network(arguments, self.images.pixels.shape[1:], self.classes, steps)
        data, reached = varied(self.images, arguments, self.classes), 0.0
        self.trials += 1

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
    with tempfile.TemporaryDirectory() as folder:
        search = Search(asked, folder)
        with contextlib.suppress(Reached):
            search.search(verbose=0)
    if not search.best:  # KerasTuner goes on after a trial that fails
        sys.exit("no trial came to an accuracy")
    print(json.dumps({"best": search.best, "trials": search.trials}))


if __name__ == "__main__":
    main()
