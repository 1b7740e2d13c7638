"""The volume stays as small as asked for, and what is needed stays on it, whatever happens meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.volume import cards, retention
from hyperflow.volume.cards import Card
from hyperflow.volume.retention import Keep

KEEP = Keep(models=3, runs=4, longest=3600)
BYTES = 1000


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    return tmp_path


def make(run_id: str, number: float, ended: bool = True, model: bool = True, locked: bool = True) -> None:
    """Leave what a run leaves: its records, a data set, a model and a log."""
    digest = f"digest-{int(number) // 10}"  # new data every tenth run
    records: dict[str, dict[str, object]] = {
        "check": {"model_name": "m", "started": number},
        "load_data": {"dataset": {"digest": digest}},
    }
    if ended:
        records["decide"] = {"deploy": False}
    for stage, record in records.items():
        volume.write_text(volume.run_path(run_id) / "steps" / f"{stage}.json", json.dumps(record))
    if locked:
        (volume.run_path(run_id) / "lock").touch()
    volume.write_text(volume.data_path("d", digest) / "images", "x" * BYTES)
    if model:
        volume.write_text(volume.model_path("m", run_id) / "1" / "saved_model.pb", "x" * BYTES)
        cards.write("m", Card(run_id, digest, "code", {}, 0.9, made=number))
    volume.write_text(volume.root() / "services" / f"m-{run_id}.log", "log")


def sweep(run_id: str, *live: str, keep: Keep = KEEP) -> list[str]:
    return retention.sweep("m", run_id, "d", keep, lambda: live)


def models() -> set[str]:
    return {path.name for path in (volume.root() / "models" / "m").glob("*") if path.is_dir()}


def runs() -> set[str]:
    return {path.name for path in (volume.root() / "runs").iterdir()}


def size() -> int:
    return sum(path.stat().st_size for path in volume.root().rglob("*") if path.is_file())


def test_two_hundred_runs_leave_the_disk_flat() -> None:
    sizes = []
    for number in range(200):
        run_id = f"run-{number:03}"
        make(run_id, number)
        sweep(run_id, "run-000", "run-001") if number > 1 else None
        sizes.append(size())
    assert models() == {"run-000", "run-001", "run-197", "run-198", "run-199"}
    assert runs() == {"run-000", "run-001", "run-196", "run-197", "run-198", "run-199"}
    assert {path.name for path in (volume.root() / "data" / "d").iterdir()} == {"digest-0", "digest-19"}
    assert {path.stem for path in (volume.root() / "services").iterdir()} == {f"m-{name}" for name in runs()}
    assert max(sizes[20:]) <= max(sizes[10:20]) + 2 * BYTES


def test_what_went_live_stays_although_nothing_answers_now() -> None:
    for number in range(9):
        make(f"run-{number}", number)
    cards.goes_live("m", "run-0")
    cards.goes_live("m", "run-1")
    sweep("run-8")
    assert models() == {"run-0", "run-1", "run-6", "run-7", "run-8"}


def test_other_models_are_left_alone(root: Path) -> None:
    for number in range(9):
        make(f"run-{number}", number)
        volume.write_text(root / "models" / "other" / f"o-{number}" / "1" / "saved_model.pb", "x")
        volume.write_text(root / "runs" / f"o-{number}" / "steps" / "check.json", '{"model_name": "other"}')
        (root / "runs" / f"o-{number}" / "lock").touch()
    sweep("run-8")
    assert len(list((root / "models" / "other").iterdir())) == 9
    assert len([name for name in runs() if name.startswith("o-")]) == 9


def test_run_at_work_here_is_left_alone() -> None:
    """An old run that another process holds, with a model that is still being written."""
    make("old", 0, ended=False, model=False)
    (volume.model_path("m", "old") / ".1.abc.partial").mkdir(parents=True)
    for number in range(1, 9):
        make(f"run-{number}", number)
    with (volume.run_path("old") / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep("run-8")
        assert {"old"} < models()
        assert {"old"} < runs()
    sweep("run-8")
    assert "old" not in models() | runs()


def test_run_at_work_elsewhere_is_left_alone_until_it_has_been_silent_for_long() -> None:
    make("pods", 0, ended=False, locked=False)
    for number in range(1, 9):
        make(f"run-{number}", number, locked=False)
    sweep("run-8")
    assert "pods" in models() & runs()
    long_ago = time.time() - 2 * KEEP.longest
    for path in (volume.run_path("pods"), *volume.run_path("pods").rglob("*")):
        os.utime(path, (long_ago, long_ago))
    sweep("run-8")
    assert "pods" not in models() | runs()


def test_data_stays_while_a_run_may_not_have_said_yet_that_it_uses_it(root: Path) -> None:
    make("first", 0)
    volume.write_text(root / "data" / "d" / "unused" / "images", "x")
    volume.write_text(root / "runs" / "starting" / "steps" / "check.json", '{"model_name": "m"}')
    sweep("first")
    assert (root / "data" / "d" / "unused").exists()
    (root / "runs" / "starting" / "lock").touch()  # it was one of this machine's, and nobody holds it
    sweep("first")
    assert not (root / "data" / "d" / "unused").exists()


@pytest.mark.parametrize("point", ["rename", "rmtree"])
def test_killed_half_way(root: Path, point: str) -> None:
    """Killed after each renaming or inside each deletion, time after time: nothing half-deleted looks whole."""
    for number in range(12):
        make(f"run-{number:02}", number)
    program = f"""
import os, shutil, signal
from hyperflow.volume import retention
from hyperflow.volume.retention import Keep
real = shutil.rmtree
def die(path, **options):
    if {point!r} == "rmtree":
        os.unlink(next(file for file in path.rglob("*") if file.is_file()))
    os.kill(os.getpid(), signal.SIGKILL)
if {point!r} == "rename":
    shutil.rmtree = die
else:
    shutil.rmtree = lambda path, **options: die(path) if path.name.startswith(".trash-") and fresh(path) else real(path)
seen = set(__import__("pathlib").Path({str(root)!r}).rglob(".trash-*"))
fresh = lambda path: path not in seen
retention.sweep("m", "run-11", "d", Keep(3, 4, 3600), lambda: ["run-00", "run-01"])
"""
    for _ in range(30):
        ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
        for name in models():
            if not name.startswith(".trash-"):
                assert (volume.model_path("m", name) / "1" / "saved_model.pb").exists()
                assert (volume.model_path("m", name) / "card.json").exists()
        assert {"run-00", "run-01", "run-11"} <= models() & runs()
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        if point == "rename":
            sweep_leftovers_only()
    sweep("run-11", "run-00", "run-01")
    assert models() == {"run-00", "run-01", "run-09", "run-10", "run-11"}
    assert list(root.rglob(".trash-*")) == []


def sweep_leftovers_only() -> None:
    """A next sweep that has nothing else to do takes away what a killed one left."""
    before = models()
    retention.sweep("m", "run-11", "d", Keep(100, 100, 3600), lambda: [])
    assert models() == {name for name in before if not name.startswith(".trash-")}
