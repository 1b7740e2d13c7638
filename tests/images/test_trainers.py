"""The example trainers through the whole pipeline by parameters alone, on a data set that is not Fashion-MNIST."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from hyperflow.datasets.idx import write_idx
from hyperflow.volume import evaluation
from tests.runner.laptop import ROOT, Laptop, laptop

__all__ = ["laptop"]

pytestmark = pytest.mark.long

EXAMPLES = ROOT / "examples"
CLASSES = ("top", "middle", "bottom")


def bands(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw noise with a brighter band, whose place is the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(CLASSES), count)
    images = random.integers(0, 180, (count, 28, 28))
    images += 75 * (np.arange(28) // 10 == labels[:, None])[:, :, None]
    return images.astype(np.uint8), labels


@pytest.fixture
def data_source(tmp_path: Path) -> Path:
    folder = tmp_path / "bands"
    folder.mkdir()
    for prefix, count, seed in (("train", 600, 1), ("t10k", 150, 2)):
        images, labels = bands(count, seed)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    return folder


def torch_python() -> str:
    """Return a Python that has PyTorch: one named, this one, or the system's (Debian: python3-torch)."""
    for python in (os.environ.get("TORCH_PYTHON", ""), sys.executable, "/usr/bin/python3"):
        if (
            python
            and Path(python).exists()
            and not subprocess.run([python, "-c", "import torch"], capture_output=True).returncode
        ):
            return python
    return ""


@pytest.mark.parametrize("name", ["own-trainer", "numpy-trainer", "pytorch-trainer"])
def test_parameters_alone_take_it_from_data_to_a_tested_service(laptop: Laptop, data_source: Path, name: str) -> None:
    python = torch_python() if name == "pytorch-trainer" else "python"
    if not python:
        pytest.skip("no PyTorch here; PyPI's for Linux brings gigabytes of CUDA, so it is no requirement of the tests")
    space = {
        "learning_rate": {"type": "double", "min": 0.003, "max": 0.01},
        "units": {"type": "int", "min": 16, "max": 32},
    }
    values = (
        f"data_source={data_source}", "dataset=bands", "model_name=bands", f"search_space={json.dumps(space)}",
        f"trainer_command={json.dumps([python, str(EXAMPLES / name / 'train.py')])}", "trainer_arguments={}",
        "trial_arguments={}", "trial_epochs=3", "epochs=10", "accuracy_floor=0.9", "smoke_accuracy_floor=0.9",
    )  # fmt: skip
    code, output = laptop.call("run", "--run-id", "own", "--keep-serving", values=values)
    assert code == 0, output
    summary = laptop.summary("own")
    assert summary["decision"]["deploy"], summary
    assert set(summary["best_parameters"]) == {"learning_rate", "units"}
    assert isinstance(summary["best_parameters"]["units"], int)
    assert summary["test_accuracy"] >= 0.9
    assert_tells_of_its_test(Path(summary["model_path"]), summary["test_accuracy"])
    images, labels = bands(20, seed=3)
    body = json.dumps({"instances": [{"flatten_input": image.ravel().tolist()} for image in images]}).encode()
    with urllib.request.urlopen(summary["endpoint"], body, timeout=10) as response:
        answers = np.array(json.load(response)["predictions"])
    assert answers.shape == (20, len(CLASSES))
    assert (answers.argmax(axis=1) == labels).mean() >= 0.9
    assert laptop.call("stop")[0] == 0


def assert_tells_of_its_test(model: Path, accuracy: float) -> None:
    """The trainer has left what docs/own-trainer.md tells of, and it is what it printed."""
    told = evaluation.read(str(model))
    matrix = np.array(told.confusion_matrix)
    assert matrix.sum() == 150
    assert matrix.trace() / 150 == pytest.approx(accuracy, abs=1e-4)
    assert len(base64.b64decode(told.predictions)) == 150
    assert told.data.name == "bands"
