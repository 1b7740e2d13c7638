"""Which runtime serves a model, and what is said where it is not the quick one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from hyperflow.serving import runtimes
from hyperflow.serving.folder import ModelError
from hyperflow.serving.onnx_model import OnnxModel
from hyperflow.serving.saved_model import SavedModel
from hyperflow.volume.paths import EVALUATION, ONNX
from tests.serving import models
from tests.serving.predictor import NAME, Predictor


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with an ONNX copy, for whoever copies it."""
    return models.save(models.Affine(), tmp_path_factory.mktemp("affine"), onnx_copy=True)


@pytest.fixture
def folder(both: Path, tmp_path: Path) -> Path:
    return shutil.copytree(both, tmp_path / "model")


def test_names_types_shapes_and_answers_are_the_same(folder: Path) -> None:
    quick, slow = runtimes.load(folder, 8), SavedModel(folder)
    assert (quick.platform, slow.platform) == ("onnx_onnxv1", "tensorflow_savedmodel")
    assert (quick.version, quick.inputs, quick.outputs) == (slow.version, slow.inputs, slow.outputs)
    tensors = {"a": np.arange(18.0).reshape(3, 2, 3), "b": np.array([1, -2, 3], np.int32)}
    theirs = slow.run(tensors)
    for name, array in quick.run(tensors).items():
        np.testing.assert_array_equal(array, theirs[name])
        assert array.dtype == theirs[name].dtype


def test_an_onnx_model_needs_no_saved_model_beside_it(folder: Path) -> None:
    (folder / "1" / "saved_model.pb").unlink()
    assert runtimes.load(folder, 8).platform == "onnx_onnxv1"
    (folder / "1" / ONNX).write_bytes(b"")
    with pytest.raises(ModelError, match=r"export it anew: it has no SavedModel"):
        runtimes.load(folder, 8)


def damaged(folder: Path, kind: str) -> Path:
    file = folder / "1" / ONNX
    match kind:
        case "absent":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "cut":
            file.write_bytes(file.read_bytes()[:-100])
        case "noise":
            file.write_bytes(b"\xff" * 1000)
    return folder


@pytest.mark.parametrize("kind", ["absent", "empty", "cut", "noise"])
def test_without_a_whole_copy_tensorflow_serves_and_says_why(
    folder: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hyperflow.serving")
    assert runtimes.load(damaged(folder, kind), 8).platform == "tensorflow_savedmodel"
    (record,) = caplog.records
    assert str(ONNX) in record.fields["why"]


def test_what_the_trainer_said_of_its_copy_is_passed_on(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hyperflow.serving")
    damaged(folder, "absent")
    (folder / "1" / EVALUATION).write_text(json.dumps({"onnx": {"left_out": "Differs: by 2"}}))
    runtimes.load(folder, 8)
    assert caplog.records[0].fields["why"].endswith("Differs: by 2")


@pytest.mark.parametrize("content", ["fixed batch", "texts"])
def test_a_copy_that_cannot_be_served_is_refused(tmp_path: Path, content: str) -> None:
    import onnx

    kind = onnx.TensorProto.STRING if content == "texts" else onnx.TensorProto.FLOAT
    shape = (4, 2) if content == "fixed batch" else ("n", 2)
    tensors = [onnx.helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", tensors[:1], tensors[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    (tmp_path / "1" / ONNX).parent.mkdir(parents=True)
    (tmp_path / "1" / ONNX).write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="cannot be served"):
        OnnxModel(tmp_path / "1")


def python_without(tmp_path: Path, *absent: str) -> dict[str, str]:
    """Return an environment in which packages are not to be found, as in the image `serve`."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(f"import sys; sys.modules.update(dict.fromkeys({absent!r}))")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])}


def test_without_tensorflow_a_model_with_a_copy_is_served(tmp_path: Path, folder: Path, monkeypatch: Any) -> None:
    for name, value in python_without(tmp_path, "tensorflow", "keras", "onnx", "tf2onnx").items():
        monkeypatch.setenv(name, value)
    running = Predictor(tmp_path, folder, "--enable_grpc=false")
    answer = httpx.post(f"{running.url}/v1/models/{NAME}:predict", json={"inputs": {"a": [[0] * 6], "b": [4]}})
    assert running.stop() == 0, running.log
    assert answer.json()["outputs"]["next"] == [5]


def test_without_tensorflow_a_model_without_a_copy_is_refused_with_what_would_do(tmp_path: Path, folder: Path) -> None:
    damaged(folder, "absent")
    words = ["--model_name", NAME, "--model_dir", str(folder), "--http_port", "0"]
    ended = subprocess.run(
        [sys.executable, "-m", "hyperflow.serving", *words],
        env=python_without(tmp_path, "tensorflow"), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    assert "cannot be served without TensorFlow" in ended.stderr
    assert str(ONNX) in ended.stderr
    assert "hyperflow-model" in ended.stderr


def test_without_onnx_runtime_tensorflow_serves(tmp_path: Path, folder: Path, monkeypatch: Any) -> None:
    for name, value in python_without(tmp_path, "onnxruntime").items():
        monkeypatch.setenv(name, value)
    running = Predictor(tmp_path, folder, "--enable_grpc=false")
    assert running.stop() == 0, running.log
    assert "ONNX Runtime is not installed" in running.log
