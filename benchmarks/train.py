"""Train: images/s and seconds to test accuracies, the trainer against Keras' `fit` with the same network, by turns."""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from benchmarks import child
from benchmarks.arms.asked import arguments_of
from benchmarks.record import Row
from benchmarks.tune import data_folder
from hyperflow.fashion.precision import precision

LEVELS = (0.90, 0.92, 0.93, 0.94)
ARMS = {"ours": "ours_fit", "Keras fit": "keras_fit"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train-seeds", type=int, default=1, help="trainings of each kind")
    parser.add_argument("--train-epochs", type=int, default=16)
    parser.add_argument("--trainer", nargs="*", default=["model=cnn-large"], help="the trainer's arguments, name=value")


def run(asked: argparse.Namespace) -> list[Row]:
    """Measure; rows have `what`, which is `matmul`, `training` or `workers`."""
    precisions = list(dict.fromkeys(("float32", precision("auto"))))
    matmul = child.arm("matmul", {"precisions": precisions, "seconds": 0.3 if asked.quick else 3}).lines
    limits = {line["precision"]: line["flops"] for line in matmul}
    epochs = 2 if asked.quick else asked.train_epochs
    fixed = {**dict(word.split("=", 1) for word in asked.trainer), "epochs": epochs}
    fixed |= {"train_fraction": 0.05} if asked.quick else {}
    data = str(data_folder())
    rows: list[Row] = [{"what": "matmul", **line} for line in matmul]
    for seed in range(asked.train_seeds):
        for kind in precisions:
            for name, module in ARMS.items():
                settings = {"data_path": data, "arguments": {**fixed, "precision": kind, "seed": seed}}
                row = _training(name, module, settings, limits[kind])
                rows.append({"what": "training", "name": name, "precision": kind, "seed": seed, **row})
    return rows + [_workers(count, data, fixed) for count in (1, 2)]


def _training(name: str, module: str, settings: dict[str, Any], limit: float) -> Row:
    done = child.arm(module, settings)
    epochs = done.lines
    rate = statistics.median(each["rate"] for each in epochs[1:])
    print(f"train: {name} {settings['arguments']}: {rate:.0f} images/s", file=sys.stderr, flush=True)
    reached = {
        f"to_{level:.2f}": next((each["total"] for each in epochs if each["test_accuracy"] >= level), None)
        for level in LEVELS
    }
    return {
        "images_per_second": rate,
        "share_of_matmul": rate * flops(settings) / limit,
        **reached,
        "test_accuracy": epochs[-1]["test_accuracy"],
        "epochs": len(epochs),
        "seconds": done.seconds,
        "core_seconds": done.core_seconds,
        "peak_mib": done.peak_mib,
    }


def flops(settings: dict[str, Any], shape: tuple[int, int, int] = (28, 28, 1), classes: int = 10) -> float:
    """Count the operations of an image, forward and backward, of convolutions and dense layers.

    A multiplication and its addition are two. The backward pass has each layer's product twice, once for its input and
    once for its weights; the first layer's input needs none.
    """
    from hyperflow.fashion.recipes import RECIPES

    recipe = RECIPES[arguments_of(settings).model]
    height, width, before = shape
    products: list[float] = []
    for block in recipe.blocks:
        for place, channels in enumerate(block):
            products.append(2.0 * height * width * 9 * before * channels)
            before = channels
            if place == 0:
                height, width = height // 2, width // 2
    products += [2.0 * height * width * before * recipe.units, 2.0 * recipe.units * classes]
    return 3 * sum(products) - products[0]


def _workers(count: int, data: str, fixed: dict[str, Any]) -> Row:
    """Time a whole training as the engine does it, with that many worker processes, two epochs long."""
    arguments = {**fixed, "epochs": 2}
    done = child.arm("engine_train", {"data_path": data, "arguments": arguments, "workers": count})
    return {
        "what": "workers",
        "workers": count,
        "seconds": done.lines[-1]["seconds"],
        "core_seconds": done.core_seconds,
        "test_accuracy": done.lines[-1]["test_accuracy"],
        "epochs": 2,
    }
