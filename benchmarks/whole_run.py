"""Time whole runs on the real data: wall clock, test accuracy, and the share that is not the trainers' own work.

    python benchmarks/whole_run.py [runs] [-- further words for `hyperflow run`]

A trainer's own work is the time its process runs, the import of TensorFlow included. Trials run side by side, so their
seconds are divided by how many do; what that misses counts as overhead.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    runs, further = int(words[0]) if split else 1, words[split + 1 :]
    rows = []
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(Path(folder), f"bench-{number}", further))
        print(json.dumps(rows[-1]), flush=True)
    for name in ("wall", "overhead_share", "test_accuracy"):
        print(f"{name}: median {statistics.median(row[name] for row in rows):.4g}")


def measure(folder: Path, run_id: str, further: list[str]) -> dict[str, Any]:
    started = time.monotonic()
    subprocess.run(["hyperflow", "run", "--run-id", run_id, "--folder", str(folder), *further], check=True)
    wall = time.monotonic() - started
    run = folder / "runs" / run_id
    tune, train = (json.loads((run / "steps" / f"{stage}.json").read_text()) for stage in ("tune", "train"))
    summary = json.loads((run / "summary.json").read_text())
    trials = sum(trial["seconds"] for trial in tune["trials"]) / 2
    own = trials + train["evaluation"]["seconds"]
    return {
        "wall": round(wall, 1), "tune": tune["seconds"], "trials": round(trials, 1), "train": train["seconds"],
        "trainer": train["evaluation"]["seconds"], "overhead_share": round(1 - own / wall, 4),
        "test_accuracy": summary["test_accuracy"], "seconds": summary["seconds"],
    }  # fmt: skip


if __name__ == "__main__":
    main()
