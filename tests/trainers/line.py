"""A trainer without TensorFlow that keeps the trainer contract: accuracy is a known function of `x`.

What else it does is asked for by arguments: fail, crash, print NaN, be slow, keep a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    options = _options()
    fail: int = options.fail
    if fail:
        print(f"broken as asked: {fail}", file=sys.stderr, flush=True)
        return fail
    count(options)
    for epoch in range(_resume() + 1, options.epochs + 1):
        time.sleep(options.pause)
        accuracy = 1 - (options.x - 0.3) ** 2 - 0.1 / epoch
        shown = "nan" if options.nan else f"{accuracy:.6f}"
        print(f"epoch={epoch} loss={1 - accuracy:.6f} validation-accuracy={shown}", flush=True)
        _remember(epoch)
        if epoch == options.crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
    if options.model_path:
        save(Path(options.model_path), options)
    return 0


def save(target: Path, options: argparse.Namespace) -> None:
    task = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {"type": "chief", "index": 0})
    if task["type"] == "chief" and not options.no_model:
        partial = target.with_name(target.name + ".partial")
        partial.mkdir(parents=True)
        (partial / "saved_model.pb").write_bytes(b"not a real one")
        partial.rename(target)
    print("test-accuracy=0.9", flush=True)


def count(options: argparse.Namespace) -> None:
    """Leave one line a start, so that a test can count how often this was started."""
    if options.count_in:
        with open(options.count_in, "a") as file:
            file.write(f"{options.x}\n")


def _checkpoint() -> Path | None:
    folder = os.environ.get("HYPERFLOW_CHECKPOINT_DIR")
    return Path(folder) / "epoch" if folder else None


def _resume() -> int:
    path = _checkpoint()
    return int(path.read_text()) if path and path.exists() else 0


def _remember(epoch: int) -> None:
    path = _checkpoint()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"epoch.{os.getpid()}")  # another worker may read it right now
        partial.write_text(str(epoch))
        partial.replace(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-path", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--model-path", default="")
    parser.add_argument("--x", type=float, default=0.3)
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--kind", default="a")
    parser.add_argument("--fail", type=int, default=0)
    parser.add_argument("--nan", type=int, default=0)
    parser.add_argument("--crash_at", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--no_model", type=int, default=0)
    parser.add_argument("--count_in", default="")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
