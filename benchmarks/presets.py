"""Presets: what each comes to, as the engine trains it: seconds, core-seconds and test accuracy, over some seeds."""

from __future__ import annotations

import argparse
import sys

from benchmarks import child
from benchmarks.record import Row
from benchmarks.tune import data_folder
from hyperflow.fashion.arguments import DESCRIPTION
from hyperflow.fashion.precision import precision


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset-seeds", type=int, default=5, help="trainings of each preset, as the trainer would by itself"
    )
    parser.add_argument(
        "--preset-seeds-float32", type=int, default=1, help="the same, with float32 where that is another"
    )


def run(asked: argparse.Namespace) -> list[Row]:
    """Measure; a row is one training."""
    seeds = {"float32": asked.preset_seeds_float32, precision("auto"): asked.preset_seeds}
    if asked.quick:
        seeds = {"float32": 1}
    data = str(data_folder())
    rows: list[Row] = []
    for seed in range(max(seeds.values())):
        for kind in (name for name, count in seeds.items() if seed < count):
            for preset in DESCRIPTION.presets:
                arguments = {"preset": preset, "precision": kind, "seed": seed}
                arguments |= {"epochs": 1, "train_fraction": 0.05} if asked.quick else {}
                done = child.arm("engine_train", {"data_path": data, "arguments": arguments, "workers": 1})
                line = {**done.lines[-1], "core_seconds": done.core_seconds}
                rows.append({"preset": preset, "precision": kind, "seed": seed, **line})
                print(f"presets: {rows[-1]}", file=sys.stderr, flush=True)
    return rows
