"""A trainer of several workers, of which one is lost at its first start: its peers see it, and end with 138.

The second start of each goes through; the chief then saves a model.
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
    task = json.loads(os.environ["TF_CONFIG"])["task"]
    me = f"{task['type']}-{task['index']}"
    if _is_first(folder / f"started-{me}"):
        return _first(folder, me)
    if task["type"] == "chief":
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


def _first(folder: Path, me: str) -> int:
    """Be lost once all have started, or wait for that and end because of it."""
    lost, deadline = folder / "lost", time.monotonic() + PATIENCE
    if me == "worker-0":
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
