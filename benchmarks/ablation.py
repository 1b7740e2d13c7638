"""Ablation: what each part of the accurate network's recipe is worth, over some seeds, in a shorter training."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import child
from benchmarks.record import Row, machine
from benchmarks.tune import data_folder

WITHOUT: dict[str, dict[str, Any]] = {
    "all of it": {},
    "without batch normalisation": {"normalises": False},
    "without mirror images": {"mirrors": False},
    "without shifts": {"shift": 0},
    "shifts of two pixels": {"shift": 2},
    "without cutout": {"cutout": 0},
    "without smoothed labels": {"smoothing": 0.0},
    "a short warm-up (5 %)": {"warm_up": 0.05},
    "AdamW's usual beta2 (0.999)": {"beta": 0.999},
    "one convolution in the first block": {"blocks": ((32,), (64, 64), (128, 128))},
    "one convolution a block": {"blocks": ((32,), (64,), (128,))},
}
"""What is changed of the recipe, by the name of its row."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ablation-seeds", type=int, default=5, help="trainings of each kind, one on each core")
    parser.add_argument("--ablation-epochs", type=int, default=6)


def run(asked: argparse.Namespace) -> list[Row]:
    """Measure; a row is one training with one thread."""
    seeds, epochs = (1, 1) if asked.quick else (asked.ablation_seeds, asked.ablation_epochs)
    arguments: dict[str, Any] = {"model": "cnn-large", "epochs": epochs, "validation_fraction": 0.01}
    arguments |= {"train_fraction": 0.02} if asked.quick else {}
    data, names = str(data_folder()), list(WITHOUT)[: 2 if asked.quick else None]

    def one(name: str, seed: int) -> Row:
        settings = {"data_path": data, "arguments": {**arguments, "seed": seed}, "recipe": WITHOUT[name], "threads": 1}
        done = child.arm("ours_fit", settings)
        row = {"name": name, "seed": seed, "epochs": epochs, "core_seconds": done.core_seconds}
        print(f"ablation: {name}, seed {seed}: {done.lines[-1]['test_accuracy']}", file=sys.stderr, flush=True)
        return {**row, "test_accuracy": done.lines[-1]["test_accuracy"]}

    with ThreadPoolExecutor(machine()["cores"]) as pool:
        return list(pool.map(one, *zip(*((name, seed) for seed in range(seeds) for name in names), strict=True)))
