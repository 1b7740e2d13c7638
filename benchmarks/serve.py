"""Serve: requests a second, latency, memory and seconds to ready: the predictor and three other servers."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.record import Row

NAMES = {
    "onnx": "ours",
    "traced": "ours, sending traces",
    "tensorflow": "ours, without an ONNX copy",
    "constant": "KServe's server, a constant",
    "naive": "KServe's server, naive model",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5, help="of load, each server in each")
    parser.add_argument("--load-seconds", type=int, default=10)
    parser.add_argument("--peers", type=Path, default=Path(tempfile.gettempdir()) / "hyperflow-bench-peers")


def run(asked: argparse.Namespace) -> list[Row]:
    """Measure; a row is one round of one server."""
    for program in ("wrk", "taskset"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is missing: apt-get install {'wrk' if program == 'wrk' else 'util-linux'}")
    from benchmarks.serving import bench

    seconds, rounds = (3, 1) if asked.quick else (asked.load_seconds, asked.rounds)
    rows: list[Row] = bench.rows(seconds, rounds, asked.peers)
    return [{**row, "name": NAMES.get(row["name"], row["name"])} for row in rows]
