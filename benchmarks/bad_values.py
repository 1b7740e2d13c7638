"""How long a bad value takes to be refused: `python benchmarks/bad_values.py [every so many]`.

Runs `hyperflow run --set name=value` as a user does, for every bad value of tests/test_parameters.py that can be typed.
Each has to be refused by name, with exit code 2, and with nothing made on the volume. Prints the median and the longest
time, by the clock and of the processor alone.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Measure, and return 1 where a value was not refused as it should be."""
    clock, processor, wrong = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for pipeline, assignments, named in itertools.islice(
            _typed(), None, None, int(sys.argv[1]) if sys.argv[1:] else 1
        ):
            seconds, work, problem = _refused(Path(folder) / "volume", pipeline, assignments, named)
            clock.append(seconds)
            processor.append(work)
            wrong += [f"{assignments}: {problem}"] if problem else []
    for name, values in (("clock", clock), ("processor", processor)):
        print(f"{name}: {len(values)} values, median {statistics.median(values):.2f} s, longest {max(values):.2f} s")
    print("\n".join(wrong) or "each was refused by name, and nothing was made")
    return 1 if wrong else 0


def _typed() -> Iterator[tuple[str, list[str], str]]:
    """Yield pipeline, assignments and what must be named, for each bad value that can be typed in a shell."""
    from hyperflow.runner import declared
    from tests.test_parameters import BAD

    known = {name: declared(ROOT / "build" / f"{name}.yaml") for name in ("train_and_serve", "retrain")}
    for values, named in BAD:
        pipeline = "train_and_serve" if set(values) <= set(known["train_and_serve"]) else "retrain"
        texts = {name: _text(value, known[pipeline][name]["parameterType"]) for name, value in values.items()}
        if all(text is not None for text in texts.values()):
            yield pipeline, [f"{name}={text}" for name, text in texts.items()], named


def _text(value: Any, kind: str) -> str | None:
    """Return what a user would type; None for what no text can be: any text is one, and a typed 10 is a number."""
    if kind == "STRING":
        return value if isinstance(value, str) else None
    return value if isinstance(value, str) and not _is_json(value) else json.dumps(value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _refused(volume: Path, pipeline: str, assignments: list[str], named: str) -> tuple[float, float, str]:
    """Return the seconds that a refusal took, those of the processor, and what is wrong with it."""
    settings = [word for assignment in assignments for word in ("--set", assignment)]
    command = [sys.executable, "-m", "hyperflow", "run", "--pipeline", pipeline, "--folder", str(volume), *settings]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "300"})
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    made = [path for path in volume.rglob("*") if path.is_file()]
    problem = "" if done.returncode == 2 else f"exit code {done.returncode}"
    problem += "" if named.partition("[")[0] in done.stderr else f" does not name {named}: {done.stderr[-200:]}"
    return seconds, work, problem + (f" made {len(made)} files, {made[0]} among them" if made else "")


if __name__ == "__main__":
    sys.exit(main())
