"""A trainer in PyTorch, saved as an ONNX model: the whole contract in one small program without Hyperflow."""

import argparse
import base64
import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
BATCH = 64


def read(path):
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


class Network(nn.Module):
    """Raw pixels, 784 numbers an instance, to one probability a class."""

    def __init__(self, units, classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(784, units), nn.ReLU(), nn.Linear(units, classes))

    def forward(self, flatten_input):
        return torch.softmax(self.layers(flatten_input / 255), dim=1)


def train_epoch(network, optimizer, pixels, labels):
    network.train()
    for rows in torch.randperm(len(pixels)).split(BATCH):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network.layers(pixels[rows] / 255), labels[rows]).backward()
        optimizer.step()


def report(epoch, network, pixels, labels):  # never NaN, which Katib cannot compare
    network.eval()
    with torch.no_grad():
        scores = network.layers(pixels / 255)
        loss = nn.functional.cross_entropy(scores, labels).item()
        accuracy = (scores.argmax(1) == labels).float().mean().item()
    loss, accuracy = (loss, accuracy) if math.isfinite(loss) else (1e9, 0.0)
    print(f"epoch={epoch} loss={loss:.6f} validation-accuracy={accuracy:.6f}", flush=True)


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


def save(path, network, about):
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # renamed once it is whole
    (partial / "assets.extra").mkdir(parents=True)
    torch.onnx.export(
        network,
        (torch.zeros(2, 784),),
        str(partial / "assets.extra" / "model.onnx"),
        input_names=["flatten_input"],
        output_names=["probabilities"],
        dynamic_axes={"flatten_input": {0: "batch"}, "probabilities": {0: "batch"}},
    )
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
    torch.manual_seed(1)
    images, labels, tests, answers = (read(options.data_path / f"{name}-ubyte.gz") for name in FILES)
    kept = len(images) - len(images) // 10
    pixels = torch.tensor(images.reshape(len(images), -1).astype(np.float32))
    targets = torch.tensor(labels.astype(np.int64))
    network = Network(options.units, int(labels.max()) + 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    for epoch in range(1, options.epochs + 1):
        train_epoch(network, optimizer, pixels[:kept], targets[:kept])
        report(epoch, network, pixels[kept:], targets[kept:])
    if options.model_path:
        network.eval()
        with torch.no_grad():
            given = network(torch.tensor(tests.reshape(len(tests), -1).astype(np.float32))).numpy()
        if not options.model_path.exists():
            save(options.model_path, network, evaluation(options.data_path, given, answers, labels))
        print(f"test-accuracy={(given.argmax(axis=1) == answers).mean():.6f}", flush=True)


if __name__ == "__main__":
    main()
