"""A trainer of several workers, of which one is lost at its first start: its peers see it, and end with 138.

The second start of each goes through; the chief, or the first worker where there is none, then saves a model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

PATIENCE = 60.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--folder", required=True)
    options, _ = parser.parse_known_args()
    folder = Path(options.folder)
    config = json.loads(os.environ["TF_CONFIG"])
    task, has_chief = config["task"], "chief" in config["cluster"]
    leads = task["type"] == "chief" if has_chief else task["index"] == 0
    me = f"{task['type']}-{task['index']}"
    if _is_first(folder / f"started-{me}"):
        return _first(folder, me == ("worker-0" if has_chief else "worker-1"))
    if leads:
        target = Path(options.model_path)
        target.mkdir(parents=True)
        (target / "saved_model.pb").write_bytes(b"not a real one")
        print("epoch=1 test-accuracy=0.9", flush=True)
    return 0


def _is_first(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _first(folder: Path, is_lost: bool) -> int:
    """Be lost once all have started, or wait for that and end because of it."""
    lost, deadline = folder / "lost", time.monotonic() + PATIENCE
    if is_lost:
        while len(list(folder.glob("started-*"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        lost.touch()
        return 137
    while not lost.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    print("another worker is gone", file=sys.stderr, flush=True)
    return 138


if __name__ == "__main__":
    sys.exit(main())
