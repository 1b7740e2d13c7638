"""Small models with the signature that the trainer exports, untrained: answers differ by input, and that is all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from hyperflow.fashion import onnx
from hyperflow.volume.paths import ONNX


class Network(tf.Module):
    """Convolutions and a softmax over ten classes, of raw pixels."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        normal = tf.random.Generator.from_seed(seed).normal
        shapes = [(3, 3, 1, 16), (3, 3, 16, 32), (3, 3, 32, 64)]
        self.filters = [tf.Variable(normal(shape) * 0.2) for shape in shapes]
        self.dense = tf.Variable(normal((576, 128)) * 0.1)
        self.last = tf.Variable(normal((128, 10)) * 0.3)

    @tf.function(input_signature=[tf.TensorSpec((None, 784), tf.float32, "flatten_input")])
    def serve(self, flatten_input: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answer a batch of flat images."""
        x = tf.reshape(flatten_input / 255.0, (-1, 28, 28, 1))
        for kernel in self.filters:
            x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")), 2, 2, "VALID")
        x = tf.nn.relu(tf.reshape(x, (-1, 576)) @ self.dense)
        return {"probabilities": tf.nn.softmax(x @ self.last)}


class Linear(tf.Module):
    """Least squares on labelled images, then a softmax; how sharp it is tells one such model from another."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, sharpness: float) -> None:
        super().__init__()
        pixels = np.append(images.reshape(len(images), -1) / 255, np.ones((len(images), 1)), 1)
        normal = pixels.T @ pixels + 10 * np.eye(pixels.shape[1])
        weights = np.linalg.solve(normal, pixels.T @ np.eye(10)[labels]) * sharpness
        self.weights, self.bias = (
            tf.Variable(weights[:-1], dtype=tf.float32),
            tf.Variable(weights[-1], dtype=tf.float32),
        )

    @tf.function(input_signature=[tf.TensorSpec((None, 784), tf.float32, "flatten_input")])
    def serve(self, flatten_input: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answer a batch of flat images."""
        return {"probabilities": tf.nn.softmax(flatten_input / 255.0 @ self.weights + self.bias)}


class Affine(tf.Module):
    """Two inputs of other types and shapes, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec((None, 2, 3), tf.float64, "a"), tf.TensorSpec((None,), tf.int32, "b")])
    def serve(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scale one input by the other."""
        factor = tf.cast(b, tf.float64)[:, None, None] * tf.cast(self.scale, tf.float64)
        return {"scaled": a * factor, "next": b + 1}


def save(module: tf.Module, folder: Path, onnx_copy: bool = False) -> Path:
    """Save under version 1 of a folder, with an ONNX copy or without one, and return the folder."""
    tf.saved_model.save(module, str(folder / "1"), signatures=module.serve)
    if onnx_copy:
        file = folder / "1" / ONNX
        file.parent.mkdir()
        file.write_bytes(onnx.convert(module.serve))
    return folder


def answers(folder: Path, images: np.ndarray) -> np.ndarray:
    """Return TensorFlow's own answers of a saved model to raw images."""
    loaded = tf.saved_model.load(str(folder / "1"))
    flat = tf.constant(images.reshape(len(images), -1), tf.float32)
    return np.asarray(loaded.signatures["serving_default"](flatten_input=flat)["probabilities"])
