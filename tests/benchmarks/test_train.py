"""What the sections measure, with the smallest that does it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import child
from benchmarks.train import flops
from hyperflow import volume
from tests.conftest import SMALL


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    from hyperflow import datasets

    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    return str(datasets.load(str(SMALL), "small").path)


def test_operations_of_a_dense_network() -> None:
    first, last = 2 * 784 * 128, 2 * 128 * 10
    assert flops({"arguments": {"model": "mlp"}}) == 2 * first + 3 * last


@pytest.mark.long
@pytest.mark.parametrize("name", ["ours_fit", "keras_fit"])
def test_both_trainings_say_the_same_of_each_epoch(data: str, name: str) -> None:
    arguments = {"model": "cnn", "epochs": 2, "batch_size": 32, "precision": "float32", "validation_fraction": 0.2}
    lines = child.arm(name, {"data_path": data, "arguments": arguments}).lines
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(line["rate"] > 0 and line["total"] >= line["seconds"] > 0 for line in lines)
    assert lines[-1]["test_accuracy"] > 0.1


@pytest.mark.long
@pytest.mark.parametrize("name", ["tune_ours", "tune_processes", "tune_optuna"])
def test_searches_end_at_the_target_or_the_last_trial(data: str, name: str) -> None:
    arguments = {"epochs": 1, "batch_size": 32, "precision": "float32", "validation_fraction": 0.2}
    asked = {"data_path": data, "arguments": arguments, "space": "two", "seed": 0, "parallel": 2, "trials": 2}
    found = child.arm(name, {**asked, "target": 1.0}).lines[-1]
    assert (found["trials"], 0 <= found["best"] <= 1) == (2, True)


def test_failure_is_not_a_measurement() -> None:
    with pytest.raises(child.Failed, match="ended with 3"):
        child.run([sys.executable, "-c", "raise SystemExit(3)"])


def test_work_of_what_a_process_waited_for_is_counted() -> None:
    burn = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    assert child.run([sys.executable, "-c", nested]).core_seconds >= 0.3
