"""The SavedModel that is served: raw pixels in, probabilities out, with test results and an ONNX copy beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from hyperflow import volume
from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.fashion import onnx
from hyperflow.fashion.network import Array, Network
from hyperflow.fashion.recipes import RECIPES
from hyperflow.volume.paths import EVALUATION

INPUT = "flatten_input"
OUTPUT = "probabilities"


def save(
    path: str, model: str, weights: Sequence[Array], evaluation: Mapping[str, object], images: Array,
    probabilities: Array, views: int = 1,
) -> None:  # fmt: skip
    """Write the model, its ONNX copy and its evaluation, whole or not at all.

    Args:
        path: Where; nothing stands there yet.
        model: The network's name among the recipes.
        weights: Those of the network, in its order.
        evaluation: What came of its test.
        images: The test images, [n, height, width, channels].
        probabilities: What the network answers to them, and the copy must answer too.
        views: How many views of an image its answer is the mean over.

    Raises:
        Unavailable: The folder cannot be written, or the disk is full.
        Conflict: Something that is not a model stands in the way.
    """
    with volume.staged(Path(path)) as folder:
        network = Network(RECIPES[model], probabilities.shape[1], shape=images.shape[1:], views=views)
        module = _served(network, weights)
        try:
            tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
        except tf.errors.OpError as error:
            remedy = "free some space, or choose another folder"
            raise Unavailable(f"the model cannot be written to {path}", error.message, remedy) from error
        told = {**evaluation, "onnx": onnx.add(folder, module.serve, images, {OUTPUT: probabilities})}
        text = json.dumps(told, indent=2, sort_keys=True, allow_nan=False)
        volume.write_text(folder / EVALUATION, text + "\n")


def read_evaluation(path: str) -> dict[str, Any]:
    """Return the evaluation of a saved model.

    Raises:
        InvalidParameter: What stands at the path is not a model that this trainer saved.
    """
    try:
        evaluation = json.loads((Path(path) / EVALUATION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidParameter("model-path", path, "a path where nothing stands yet") from error
    if not isinstance(evaluation, dict):
        raise InvalidParameter("model-path", path, "a path where nothing stands yet")
    return evaluation


def _served(network: Network, weights: Sequence[Array]) -> tf.Module:
    # The network is one built outside of any strategy, so that the file is the same whoever trained. The weights go in
    # as constants: variables would carry an attribute (`debug_name`) that the TensorFlow Serving of KServe, 2.6, does
    # not know.
    def serve(flatten_input: tf.Tensor) -> dict[str, tf.Tensor]:
        constants = [tf.constant(value) for value in weights]
        with keras.StatelessScope(list(zip(network.weights, constants, strict=True))):
            return {OUTPUT: network.probabilities(flatten_input)}

    module = tf.Module()
    numbers = math.prod(network.shape)
    signature = [tf.TensorSpec([None, numbers], tf.float32, name=INPUT)]
    module.serve = tf.function(serve, input_signature=signature, autograph=False)
    return module
