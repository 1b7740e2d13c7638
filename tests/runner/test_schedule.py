"""Running again and again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hyperflow.errors import Cancelled, JobFailed
from hyperflow.runner import schedule

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("now", "following"), [(0.0, 10.0), (9.9, 10.0), (10.0, 20.0), (35.0, 40.0)])
def test_what_was_missed_is_not_made_up_for(now: float, following: float) -> None:
    assert schedule.next_start(0.0, 10.0, now) == following


def test_failing_run_is_said_and_ends_nothing() -> None:
    said: list[str] = []
    ends = iter([JobFailed("it broke", "a cause"), JobFailed("again"), Cancelled("enough")])

    def run() -> None:
        raise next(ends)

    with pytest.raises(Cancelled):
        schedule.forever(0.01, run, said.append)
    assert [line for line in said if line.startswith("error")] == ["error: it broke\n  cause: a cause", "error: again"]
    assert sum(line.startswith("next run at") for line in said) == 2


def test_command_goes_on_after_a_failure_until_it_is_told_to_stop(tmp_path: Path) -> None:
    words = [
        "run",
        "--pipeline",
        "retrain",
        "--every",
        "1h",
        "--set",
        f"data_source={tmp_path}",
        "--set",
        "dataset=none",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "hyperflow", *words, "--folder", str(tmp_path / "volume")],
        cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's job in the background ignores it
    )  # fmt: skip
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if "next run at" in line:
            break
    assert "error: " in output, output
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output + rest
    assert "Traceback" not in rest


def test_run_id_and_every_exclude_each_other(tmp_path: Path) -> None:
    words = ["run", "--pipeline", "retrain", "--every", "1h", "--run-id", "x", "--folder", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-m", "hyperflow", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "--run-id" in ended.stderr
