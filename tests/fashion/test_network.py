"""The networks: for 28 × 28 grey pixels what they have been, and of any shape that a data set's card has."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from hyperflow import datasets
from hyperflow.fashion import export
from hyperflow.fashion.convolution import Convolution
from hyperflow.fashion.network import Network
from hyperflow.fashion.recipes import RECIPES
from hyperflow.volume.paths import EVALUATION, ONNX
from tests.datasets.own import folder_of_pictures
from tests.fashion.trainer import run

CNN = [(3, 3, 1, 16), (16,), (3, 3, 16, 32), (32,), (3, 3, 32, 64), (64,), (576, 128), (128,), (128, 10), (10,)]
MLP = [(784, 128), (128,), (128, 10), (10,)]
ANSWERS = {"cnn": [1.671315e-4, 1.273311e-5, 1.877850e-3], "mlp": [0.0160524, 0.0516432, 0.0930999]}


@pytest.mark.parametrize(("model", "shapes", "size"), [("cnn", CNN, 5312.10147), ("mlp", MLP, 4196.57553)])
def test_fashion_mnists_networks_are_what_they_were(model: str, shapes: list[tuple[int, ...]], size: float) -> None:
    """Shapes, first weights and answers, as computed before a network could have another shape; to a processor's own
    rounding."""
    keras.utils.set_random_seed(3)
    network = Network(RECIPES[model], 10)
    weights = [np.asarray(weight) for weight in network.weights]
    assert [weight.shape for weight in weights] == shapes
    assert sum(np.abs(weight).sum(dtype=np.float64) for weight in weights) == pytest.approx(size, rel=1e-6)
    pixels = np.arange(784)[None] % 256
    answers = network.probabilities(tf.constant(pixels, tf.float32)).numpy()
    assert answers[0, :3].tolist() == pytest.approx(ANSWERS[model], rel=1e-3)


@pytest.mark.parametrize("side", [3, 4, 6])
def test_gradients_in_bfloat16_are_those_in_float32(side: int) -> None:
    """On both sides of the size up to which a kernel's gradient is computed otherwise."""
    keras.utils.set_random_seed(3)
    convolution = Convolution(8, 16, pools=False)
    images, above = tf.random.normal((32, side, side, 8)), tf.random.normal((32, side, side, 16))

    def gradients(precision: tf.DType) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            answers = convolution.learn(tf.cast(images, precision), None)
            total = tf.reduce_sum(tf.cast(answers, tf.float32) * above)
        made: list[tf.Tensor] = tape.gradient(total, [images, convolution.trained[0].value])
        return made

    for rounded, exact in zip(gradients(tf.bfloat16), gradients(tf.float32), strict=True):
        away = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
        assert away < 0.1, "bfloat16 has a fraction of seven bits, and decides otherwise what is near ReLU's edge"


@pytest.mark.parametrize("model", list(RECIPES))
@pytest.mark.parametrize("shape", [(32, 32, 3), (9, 21, 3), (40, 24, 1), (8, 8, 1)])
def test_a_network_of_any_shape_is_exported_with_a_copy_that_answers_alike(
    tmp_path: Path, model: str, shape: tuple[int, int, int]
) -> None:
    images = np.random.default_rng(3).integers(0, 256, (20, *shape), dtype=np.uint8)
    network = Network(RECIPES[model], 5, shape=shape)
    answers = network.probabilities(tf.constant(images.reshape(20, -1), tf.float32)).numpy()
    weights = [np.asarray(weight) for weight in network.weights]
    export.save(str(tmp_path / "1"), model, weights, {}, images, answers)
    assert json.loads((tmp_path / "1" / EVALUATION).read_text())["onnx"]["instances"] == 20
    assert (tmp_path / "1" / ONNX).exists()
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    assert served.structured_input_signature[1]["flatten_input"].shape.as_list() == [None, int(np.prod(shape))]


def test_views_answer_with_the_mean_over_the_moved_images(tmp_path: Path) -> None:
    """Held against what each of them answers alone; the served model and its copy do the same."""
    images = np.random.default_rng(4).integers(0, 256, (6, 12, 9, 1), dtype=np.uint8)
    keras.utils.set_random_seed(1)
    alone = Network(RECIPES["cnn"], 4, shape=images.shape[1:])
    together = Network(RECIPES["cnn"], 4, shape=images.shape[1:], views=5)
    for mine, theirs in zip(together.weights, alone.weights, strict=True):
        mine.assign(theirs)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    moved = [padded[:, 1 - y : 13 - y, 1 - x : 10 - x] for y, x in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))]
    expected = np.mean([alone.probabilities(tf.constant(each)) for each in moved], axis=0)
    answers = together.probabilities(tf.constant(images)).numpy()
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    assert np.abs(answers - alone.probabilities(tf.constant(images)).numpy()).max() > 1e-3
    weights = [np.asarray(weight) for weight in together.weights]
    export.save(str(tmp_path / "1"), "cnn", weights, {}, images, answers, views=5)
    assert (tmp_path / "1" / ONNX).exists(), "its copy answers alike, or it would not be there"
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    flat = tf.constant(images.reshape(6, -1), tf.float32)
    np.testing.assert_allclose(served(flat)["probabilities"], answers, atol=1e-6)


@pytest.mark.parametrize("model", list(RECIPES))
def test_a_training_takes_the_shape_from_the_datas_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv("HYPERFLOW_VOLUME", str(tmp_path / "volume"))
    data = datasets.load(str(folder_of_pictures(tmp_path / "wide", size=(20, 12))), "wide")
    path = tmp_path / "model" / "1"
    ended = run(tmp_path, data_path=data.path, model=model, epochs=1, batch_size=8, model_path=str(path))
    assert ended.code == 0, ended.errors
    told = json.loads((path / EVALUATION).read_text())
    assert told["classes"] == list(data.classes)
    assert told["onnx"]["instances"] == data.test_count
