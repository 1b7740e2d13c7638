"""A trainer in plain NumPy: a network of one hidden layer, saved as an ONNX model. No TensorFlow, no Hyperflow."""

import argparse
import base64
import gzip
import json
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
BATCH = 64


def read(path):
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def probabilities(weights, pixels):
    hidden = np.maximum(pixels @ weights["w1"] + weights["b1"], 0)
    scores = hidden @ weights["w2"] + weights["b2"]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, powers / powers.sum(axis=1, keepdims=True)


def gradients(weights, pixels, labels):
    hidden, given = probabilities(weights, pixels)
    given[np.arange(len(labels)), labels] -= 1
    given /= len(labels)
    back = (given @ weights["w2"].T) * (hidden > 0)
    return {"w1": pixels.T @ back, "b1": back.sum(axis=0), "w2": hidden.T @ given, "b2": given.sum(axis=0)}


def train_epoch(weights, moments, rate, pixels, labels, random):
    """Go through the data once, with Adam's steps."""
    order = random.permutation(len(pixels))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        moments["step"] += 1
        for name, slope in gradients(weights, pixels[rows], labels[rows]).items():
            first, second = moments[name]
            first += 0.1 * (slope - first)
            second += 0.001 * (slope**2 - second)
            mean, spread = first / (1 - 0.9 ** moments["step"]), second / (1 - 0.999 ** moments["step"])
            weights[name] -= (rate * mean / (np.sqrt(spread) + 1e-7)).astype(np.float32)


def report(epoch, weights, pixels, labels):  # never NaN, which Katib cannot compare
    _, given = probabilities(weights, pixels)
    loss = float(-np.log(given[np.arange(len(labels)), labels] + 1e-9).mean())
    loss, accuracy = (loss, float((given.argmax(axis=1) == labels).mean())) if np.isfinite(loss) else (1e9, 0.0)
    print(f"epoch={epoch} loss={loss:.6f} validation-accuracy={accuracy:.6f}", flush=True)


def as_onnx(weights):
    """Write the network down as ONNX: raw pixels, 784 numbers an instance, to one probability a class."""
    classes = weights["b2"].size
    constants = {**weights, "scale": np.float32(1 / 255)}
    nodes = [
        helper.make_node("Mul", ["flatten_input", "scale"], ["pixels"]),
        helper.make_node("Gemm", ["pixels", "w1", "b1"], ["raw"]),
        helper.make_node("Relu", ["raw"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "numpy-trainer",
        [helper.make_tensor_value_info("flatten_input", onnx.TensorProto.FLOAT, ["batch", 784])],
        [helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def evaluation(data_path, given, labels, train_labels):
    """Say what the test came to, for the report and the gate."""
    about = json.loads((data_path / "dataset.json").read_text())
    predicted, sure = given.argmax(axis=1), given.max(axis=1)
    matrix = np.zeros((len(about["classes"]),) * 2, int)
    np.add.at(matrix, (labels, predicted), 1)
    return {
        "classes": about["classes"],
        "confusion_matrix": matrix.tolist(),
        "predictions": base64.b64encode(predicted.astype(np.uint8).tobytes()).decode(),
        "data": {"name": about["name"], "digest": about["digest"]},
        "train_class_counts": np.bincount(train_labels, minlength=len(about["classes"])).tolist(),
        "mean_confidence": float(sure.mean()),
    }


def save(path, content, about):
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # renamed once it is whole
    (partial / "assets.extra").mkdir(parents=True)
    (partial / "assets.extra" / "model.onnx").write_bytes(content)
    (partial / "assets.extra" / "evaluation.json").write_text(json.dumps(about))
    partial.rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-path", type=Path, required=True)
    parser.add_argument("--model-path", type=Path)  # a trial, which saves nothing, gets none
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning_rate", type=float, default=0.001)
    parser.add_argument("--units", type=int, default=64)
    options = parser.parse_args()
    images, labels, tests, answers = (read(options.data_path / f"{name}-ubyte.gz") for name in FILES)
    pixels, held = np.split(images.reshape(len(images), -1).astype(np.float32) / 255, [-(len(images) // 10)])
    random = np.random.default_rng(1)
    sizes = {"1": (pixels.shape[1], options.units), "2": (options.units, int(labels.max()) + 1)}
    weights = {f"w{layer}": random.normal(0, (2 / size[0]) ** 0.5, size) for layer, size in sizes.items()}
    weights |= {f"b{layer}": np.zeros(size[1]) for layer, size in sizes.items()}
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in weights.items()} | {"step": 0}
    for epoch in range(1, options.epochs + 1):
        train_epoch(weights, moments, options.learning_rate, pixels, labels[: len(pixels)], random)
        report(epoch, weights, held, labels[len(pixels) :])
    if options.model_path:
        _, given = probabilities(weights, tests.reshape(len(tests), -1).astype(np.float32) / 255)
        if not options.model_path.exists():
            save(options.model_path, as_onnx(weights), evaluation(options.data_path, given, answers, labels))
        print(f"test-accuracy={(given.argmax(axis=1) == answers).mean():.6f}", flush=True)


if __name__ == "__main__":
    main()
