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

START_SECONDS = "LINE_START_SECONDS"
"""Environment variable: how long it takes to start, as a trainer does that imports TensorFlow."""


def main() -> int:
    time.sleep(float(os.environ.get(START_SECONDS, 0)))
    options = _options()
    if count(options) % 2 and options.every_other:
        options.fail, options.nan, options.bad_x = 0, 0, None
    if options.bad_x is not None:
        options.x = options.bad_x
    fail: int = options.fail
    if fail:
        print(f"broken as asked: {fail}", file=sys.stderr, flush=True)
        return fail
    done = _resume()
    if done >= options.epochs:  # killed when only its end was left
        report(options, done)
    for epoch in range(done + 1, options.epochs + 1):
        time.sleep(options.pause)
        if options.ledger:
            with open(options.ledger, "a") as file:
                file.write(f"{options.x} {epoch}\n")
        report(options, epoch)
        _remember(epoch)
        if epoch == options.crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
    while done < options.epochs and options.linger and Path(options.linger).exists():
        time.sleep(0.05)
    if options.model_path:
        save(Path(options.model_path), options)
    return 0


def report(options: argparse.Namespace, epoch: int) -> None:
    accuracy = 1 - (options.x - 0.3) ** 2 - 0.1 / epoch
    shown = (f"{accuracy:.6f}", "nan", "inf")[options.nan]
    print(f"epoch={epoch} loss={1 - accuracy:.6f} validation-accuracy={shown}", flush=True)


def save(target: Path, options: argparse.Namespace) -> None:
    if leads() and not options.no_model:
        partial = target.with_name(target.name + ".partial")
        partial.mkdir(parents=True)
        (partial / "saved_model.pb").write_bytes(b"not a real one")
        partial.rename(target)
    print("test-accuracy=0.9", flush=True)


def count(options: argparse.Namespace) -> int:
    """Leave one line a start, so that a test can count how often this was started; return which start this is."""
    if not options.count_in:
        return 0
    with open(options.count_in, "a") as file:
        file.write(f"{options.x}\n")
    return len(Path(options.count_in).read_text().splitlines())


def leads() -> bool:
    """Tell whether this process saves: the chief, or the first worker where nobody is called chief."""
    config = json.loads(os.environ.get("TF_CONFIG", "{}"))
    role = config.get("task", {"type": "chief", "index": 0})
    return role["type"] == "chief" or ("chief" not in config["cluster"] and role == {"type": "worker", "index": 0})


def _checkpoint() -> Path | None:
    folder = os.environ.get("HYPERFLOW_CHECKPOINT_DIR")
    return Path(folder) / "epoch" if folder else None


def _resume() -> int:
    folders = [os.environ.get(f"HYPERFLOW_CHECKPOINT_{which}", "") for which in ("DIR", "FROM")]
    found = [Path(folder) / "epoch" for folder in folders if folder and (Path(folder) / "epoch").exists()]
    return int(found[0].read_text()) if found else 0


def _remember(epoch: int) -> None:
    path = _checkpoint()
    if path and leads():
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
    parser.add_argument("--nan", type=int, default=0, help="1: print nan, 2: print inf")
    parser.add_argument("--every_other", type=int, default=0, help="the bad is for every second start alone")
    parser.add_argument("--bad_x", type=float, default=None, help="the x to take whatever x is given")
    parser.add_argument("--crash_at", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--no_model", type=int, default=0)
    parser.add_argument("--count_in", default="")
    parser.add_argument("--linger", default="", help="a file that keeps it from ending when all its epochs are done")
    parser.add_argument("--ledger", default="", help="a file that gets a line for every epoch begun")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
