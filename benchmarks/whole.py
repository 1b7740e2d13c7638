"""Run: the wall clock of `make run` by stage, of the compiler and the command line, and the memory of each process."""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks import child
from benchmarks.record import Row
from hyperflow.volume.paths import EVALUATION

HYPERFLOW = [sys.executable, "-m", "hyperflow"]
COMMANDS = {
    "import kfp": [sys.executable, "-c", "import kfp, kfp.dsl, kfp.compiler, kfp.kubernetes"],
    "compile.py --check": [sys.executable, "compile.py", "--check"],
    "hyperflow --help": [*HYPERFLOW, "--help"],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=3, help="whole runs, and five times as many of each command")


def run(asked: argparse.Namespace) -> list[Row]:
    """Measure; rows have `what`, which is `command`, `run` or `process`."""
    rows: list[Row] = []
    times = 1 if asked.quick else 5 * asked.runs
    taken: dict[str, list[child.Done]] = {name: [] for name in COMMANDS}
    for _ in range(times):
        for name, command in COMMANDS.items():
            taken[name].append(child.run(command))
    for name, each in taken.items():
        seconds = statistics.median(one.seconds for one in each)
        row = {"what": "command", "name": name, "times": times, "seconds": seconds, "peak_mib": each[-1].peak_mib}
        rows.append(row)
    quick = ["--set", "epochs=1", "--set", "max_trials=1", "--set", "accuracy_floor=0.1"] if asked.quick else []
    for number in range(1 if asked.quick else asked.runs):
        rows += _whole(number, quick)
        print(f"run: {rows[-1]}", file=sys.stderr, flush=True)
    return rows


def _whole(number: int, words: list[str]) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, _watched() as peaks:
        run_id = f"bench-{number}"
        done = child.run([*HYPERFLOW, "run", "--run-id", run_id, "--folder", folder, *words])
        summary, trainers = _came_to(Path(folder) / "runs" / run_id)
    whole = {
        "what": "run",
        "number": number,
        "seconds": done.seconds,
        "core_seconds": done.core_seconds,
        "stages": summary["seconds"],
        "trainers": trainers,
        "test_accuracy": summary["test_accuracy"],
    }
    return [
        whole,
        *({"what": "process", "number": number, "name": name, "peak_mib": peak} for name, peak in peaks.items()),
    ]


def _came_to(run: Path) -> tuple[Row, float]:
    """Return a run's summary, and the seconds of the trainers' own work, the import of TensorFlow included.

    Trials run two at a time by default, so their seconds count half; what that misses is not counted as theirs.
    """
    summary = json.loads((run / "summary.json").read_text())
    tune = json.loads((run / "steps" / "tune.json").read_text())
    trials = sum(trial["seconds"] for trial in tune["trials"]) / min(2, len(tune["trials"]))
    training = json.loads((Path(summary["model_path"]) / "1" / EVALUATION).read_text())
    return summary, trials + training["seconds"]


@contextlib.contextmanager
def _watched() -> Iterator[dict[str, float]]:
    """Look four times a second at all processes below this one; give the most resident MiB of each, by its title."""
    peaks: dict[str, float] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.25):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if words := process.cmdline():  # one that has ended, and is not waited for yet, has none
                        title, resident = _title(words), process.memory_info().rss / 2**20
                        peaks[title] = max(peaks.get(title, 0.0), resident)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _title(words: list[str]) -> str:
    """Name a process by its module or its file, without the folders and arguments that differ by run."""
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    files = [word for word in words[1:] if word.endswith(".py")]
    return Path(files[-1]).name if files else Path(words[0]).name
