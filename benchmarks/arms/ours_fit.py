"""The trainer's own functions, timed by epoch; the time for testing is not counted.

`recipe` in the settings changes fields of the network's recipe.
`threads` are TensorFlow's own; without it, all cores.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time

import numpy as np
import tensorflow as tf

from benchmarks.arms.asked import Settings, arguments_of
from hyperflow.datasets import open_dataset
from hyperflow.fashion import cluster, learning
from hyperflow.fashion.arguments import Arguments
from hyperflow.fashion.learning import Images, Learner
from hyperflow.fashion.recipes import RECIPES


def prepared(arguments: Arguments) -> tuple[Images, Images, Images, int]:
    """Return the images to learn from, to validate with and to test with, and the number of classes."""
    data = open_dataset(arguments.data_path)
    train, test = (
        Images(data.images(split).reshape(-1, *data.shape), data.labels(split)) for split in ("train", "test")
    )
    learn, validation = learning.split(train, arguments)
    return learn, validation, test, len(data.classes)


def learner_of(arguments: Arguments, images: Images, classes: int) -> Learner:
    """Make the trainer's learner for one worker."""
    return Learner(cluster.member("").strategy(), arguments, images, classes)


def accuracy(learner: Learner, images: Images) -> float:
    """Return the share that is classified rightly."""
    return float(np.mean(np.argmax(learner.probabilities(images.pixels), -1) == images.labels))


def level(epoch: int, seconds: float, total: float, images: int, score: float) -> None:
    """Print an epoch's line."""
    line = {"epoch": epoch, "seconds": seconds, "total": total, "rate": images / seconds, "test_accuracy": score}
    print(json.dumps(line), flush=True)


def main(settings: Settings) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(settings.get("threads", 0))
    arguments = arguments_of(settings)
    RECIPES[arguments.model] = dataclasses.replace(RECIPES[arguments.model], **settings.get("recipe", {}))
    images, _, test, classes = prepared(arguments)
    learner = learner_of(arguments, images, classes)
    total = 0.0
    for number in range(arguments.epochs):
        began = time.monotonic()
        learner.epoch(number)
        seconds = time.monotonic() - began
        total += seconds
        level(number + 1, seconds, total, learner.steps * learner.batch, accuracy(learner, test))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
