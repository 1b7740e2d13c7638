"""A month of new data: ever more of a training set, once with corrupted labels, and a service that is asked all along.

python -m tests.runner.month SOURCE VOLUME     SOURCE has the four published files of Fashion-MNIST
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hyperflow.datasets.idx import Bytes, read_idx, write_idx

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Supply:
    """A data set from which the state of a day is cut."""

    source: Path

    def write(self, folder: Path, count: int, corrupted: float = 0.0) -> Path:
        """Write the first images, with a share of the labels drawn at random."""
        folder.mkdir(parents=True, exist_ok=True)
        labels = self._read("train-labels-idx1")[:count].copy()
        if corrupted:
            generator = np.random.default_rng(0)
            chosen = generator.random(count) < corrupted
            labels[chosen] = generator.integers(0, labels.max() + 1, chosen.sum())
        write_idx(folder / "train-labels-idx1-ubyte.gz", labels)
        write_idx(folder / "train-images-idx3-ubyte.gz", self._read("train-images-idx3")[:count])
        for name in ("t10k-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
            (folder / name).write_bytes((self.source / name).read_bytes())
        return folder

    @property
    def test_images(self) -> Bytes:
        """What users might ask about."""
        return self._read("t10k-images-idx3")

    def _read(self, stem: str) -> Bytes:
        return read_idx(self.source / f"{stem}-ubyte.gz")


@dataclass
class Asker:
    """Asks a service about one image after the other, and remembers every answer that was none."""

    endpoint: str
    images: Bytes
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Asker:
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _ask(self) -> None:
        for image in itertools.cycle(self.images):
            if self._stop.wait(0.1):
                return
            try:
                assert len(ask(self.endpoint, image[None])[0]) == 10
                self.answered += 1
            except (OSError, ValueError, AssertionError) as error:
                self.failures.append(f"{time.strftime('%H:%M:%S')} {error!r}")


def ask(endpoint: str, images: Bytes) -> list[list[float]]:
    """Ask a service about some images."""
    body = json.dumps({"instances": [{"flatten_input": image.reshape(-1).tolist()} for image in images]}).encode()
    with urllib.request.urlopen(endpoint, body, timeout=20) as response:
        predictions: list[list[float]] = json.load(response)["predictions"]
    return predictions


@dataclass(frozen=True)
class Machine:
    """A volume, the data it is fed, and the command line."""

    volume: Path
    settings: tuple[str, ...]

    def run(self, run_id: str, source: Path, *values: str) -> dict[str, Any]:
        process = self.start(run_id, source, *values)
        output, _ = process.communicate(timeout=1200)
        assert process.returncode == 0, output
        return self.summary(run_id)

    def start(self, run_id: str, source: Path, *values: str) -> subprocess.Popen[str]:
        words = [word for value in (*self.settings, f"data_source={source}", *values) for word in ("--set", value)]
        return subprocess.Popen(
            [sys.executable, "-m", "hyperflow", "run", "--pipeline", "retrain", "--run-id", run_id, *words, "--folder",
             str(self.volume)],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def summary(self, run_id: str) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.volume / "runs" / run_id / "summary.json").read_text())
        return summary

    def stop(self) -> None:
        command = [sys.executable, "-m", "hyperflow", "stop", "--folder", str(self.volume)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)


def main(source: Path, volume: Path) -> None:
    """Run the month on real data and print what was decided each day."""
    supply = Supply(source)
    settings = (
        "dataset=month", "max_trials=3", "epochs=4", "accuracy_floor=0.7", 'trainer_arguments={"model": "mlp"}',
        "trial_arguments={}", "smoke_accuracy_floor=0.7",
    )  # fmt: skip
    machine = Machine(volume, settings)
    days = [
        ("week-1", 12_000, 0.0, ()), ("again", 12_000, 0.0, ()), ("week-2", 36_000, 0.0, ()),
        ("corrupted", 45_000, 0.5, ()), ("few-more", 36_600, 0.0, ()), ("week-4", 60_000, 0.0, ()),
        ("better-network", 60_000, 0.0, ('trainer_arguments={"model": "cnn", "seed": 0}',)),
    ]  # fmt: skip
    first, *others = days
    say(first[0], machine.run(first[0], supply.write(volume / "in" / first[0], first[1]), *first[3]))
    with Asker(str(machine.summary(first[0])["endpoint"]), supply.test_images) as asker:
        for name, count, corrupted, values in others:
            say(name, machine.run(name, supply.write(volume / "in" / name, count, corrupted), *values))
    print(f"the service answered {asker.answered} times and failed {len(asker.failures)} times {asker.failures[:3]}")
    machine.stop()


def say(name: str, summary: dict[str, Any]) -> None:
    """Print one day's verdict."""
    decision = summary["decision"]
    seconds = summary["total_seconds"]
    print(f"{name:15} {seconds:6.1f} s  {decision['outcome']:9} {decision['reason']}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
