"""Test results as data: what the report shows, the gate compares and drift is measured against."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from hyperflow import metrics
from hyperflow.fashion.network import Array

MISREAD = 48
"""How many of the worst misread images are listed."""

_SMALLEST = 1e-7


def loss_and_accuracy(probabilities: Array, labels: Array) -> tuple[float, float]:
    """Return mean cross-entropy and share of right answers; the penalty and 0 if the model has diverged."""
    if not np.isfinite(probabilities).all():
        return metrics.PENALTY, 0.0
    given = probabilities[np.arange(len(labels)), labels]
    loss = -np.log(np.maximum(given.astype(np.float64), _SMALLEST)).mean()
    return float(loss), float((probabilities.argmax(axis=1) == labels).mean())


def confusion(predicted: Array, labels: Array, classes: int) -> Array:
    """Count images by label (row) and prediction (column)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def per_class(counts: Array, names: Sequence[str]) -> list[dict[str, object]]:
    """Return precision, recall, F1 and support of each class; a class never predicted has precision 0."""
    right, predicted, support = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    precision = right / np.maximum(predicted, 1)
    recall = right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(predicted + support, 1)
    return [
        {
            "class": name,
            "precision": float(precision[number]),
            "recall": float(recall[number]),
            "f1": float(f1[number]),
            "support": int(support[number]),
        }
        for number, name in enumerate(names)
    ]


def misread(probabilities: Array, labels: Array) -> list[dict[str, float | int]]:
    """List the images that were misread with the most confidence, worst first."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISREAD]
    return [
        {
            "index": int(index),
            "label": int(labels[index]),
            "predicted": int(predicted[index]),
            "probability": float(confidence[index]),
        }
        for index in worst
    ]


def summarise(probabilities: Array, labels: Array, names: Sequence[str]) -> dict[str, object]:
    """Put all test results together."""
    loss, accuracy = loss_and_accuracy(probabilities, labels)
    predicted = probabilities.argmax(axis=1)
    counts = confusion(predicted, labels, len(names))
    return {
        "test_accuracy": accuracy,
        "test_loss": loss,
        "mean_confidence": float(probabilities.max(axis=1).astype(np.float64).mean()),
        "classes": list(names),
        "confusion_matrix": counts.tolist(),
        "per_class": per_class(counts, names),
        "misread": misread(probabilities, labels),
        "predictions": base64.b64encode(predicted.astype(np.uint8).tobytes()).decode(),
    }
