"""The ONNX copy: each network has one that answers alike, and what has none says why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hyperflow.fashion import export, onnx
from hyperflow.fashion.network import Network
from hyperflow.fashion.recipes import RECIPES
from hyperflow.volume.paths import EVALUATION, ONNX

IMAGES = np.random.default_rng(3).integers(0, 256, (300, 28, 28, 1), dtype=np.uint8)


def weights_and_answers(model: str) -> tuple[list[np.ndarray], np.ndarray]:
    network = Network(RECIPES[model], 10)
    pixels = tf.constant(IMAGES.reshape(-1, 784), tf.float32)
    return [np.asarray(weight) for weight in network.weights], network.probabilities(pixels).numpy()


@pytest.mark.parametrize("model", ["cnn", "cnn-large", "mlp"])
def test_the_copy_of_each_network_answers_as_tensorflow_does(tmp_path: Path, model: str) -> None:
    import onnxruntime

    weights, answers = weights_and_answers(model)
    export.save(str(tmp_path / "1"), model, weights, {"seconds": 1}, IMAGES, answers)
    told = json.loads((tmp_path / "1" / EVALUATION).read_text())
    assert told["onnx"]["instances"] == len(IMAGES)
    assert told["onnx"]["largest_difference"] <= 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "1" / ONNX))
    copied = session.run([export.OUTPUT], {export.INPUT: IMAGES.reshape(-1, 784).astype(np.float32)})[0]
    np.testing.assert_allclose(copied, answers, atol=1e-5)


@pytest.mark.parametrize("row", [0, 299])
def test_a_copy_that_differs_in_one_answer_is_left_out_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: int
) -> None:
    weights, answers = weights_and_answers("mlp")
    answers[row, 3] += 2e-5
    export.save(str(tmp_path / "1"), "mlp", weights, {}, IMAGES, answers)
    assert not (tmp_path / "1" / ONNX).exists()
    assert (tmp_path / "1" / "saved_model.pb").exists()
    reason = json.loads((tmp_path / "1" / EVALUATION).read_text())["onnx"]["left_out"]
    told = re.fullmatch(r"Differs: an answer is (\S+) from TensorFlow's, more than the 1e-05 allowed", reason)
    assert told is not None
    assert float(told[1]) == pytest.approx(2e-5, abs=1e-6)
    assert reason in capsys.readouterr().err


def test_answers_that_are_not_numbers_are_no_agreement() -> None:
    function = tf.function(
        lambda x: {"y": tf.math.log(x)}, input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")]
    )
    with pytest.raises(onnx.Differs):
        onnx.largest_difference(onnx.convert(function), np.full((1, 2), -1), {"y": np.zeros((1, 2))})


def test_what_the_converter_does_not_know_is_left_out_with_the_reason(tmp_path: Path) -> None:
    function = tf.function(
        lambda x: {"y": tf.math.bessel_i0(x)}, input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")]
    )
    answers = {"y": np.ones((1, 2), np.float32)}
    told = onnx.add(tmp_path, function, np.zeros((1, 2), np.float32), answers)
    assert "Bessel" in str(told["left_out"])
    assert not (tmp_path / ONNX).exists()
