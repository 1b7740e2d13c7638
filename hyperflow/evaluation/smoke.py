"""The smoke test: labelled test images sent to a deployed model, one a request, as its users would."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperflow import client
from hyperflow.client import Access
from hyperflow.datasets import Dataset
from hyperflow.errors import JobFailed
from hyperflow.specs import Endpoint

_SEED = 0


@dataclass(frozen=True)
class SmokeTest:
    """What the deployed model answered.

    Args:
        accuracy: Share of images it read right, 0 to 1.
        instances: How many images were sent.
        p50_ms: Median latency of a request, in milliseconds.
        p99_ms: 99th percentile of the same.
        answers: Probabilities, float64 [instances, classes].
    """

    accuracy: float
    instances: int
    p50_ms: float
    p99_ms: float
    answers: npt.NDArray[np.float64]


def run(
    endpoint: Endpoint,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    access: Access | None = None,
    seconds: float = client.SECONDS,
) -> SmokeTest:
    """Send each image in a request of its own and compare the answers with the labels.

    The first request is not timed: it opens what later ones find open.

    Args:
        endpoint: Where to ask.
        images: Raw pixels 0–255, uint8 [n, height, width].
        labels: Their classes, uint8 [n].
        access: How requests get there; by default as the environment says.
        seconds: How long an answer may take.

    Raises:
        JobFailed: A request got no answer, or not one of the right form.
    """
    client.probabilities(endpoint, images[:1], access, seconds)
    answers, took = [], []
    for image in images:
        started = time.perf_counter()
        answers.append(client.probabilities(endpoint, image[None], access, seconds)[0])
        took.append(time.perf_counter() - started)
    probabilities = np.asarray(answers, dtype=np.float64)
    accuracy = float(np.mean(probabilities.argmax(axis=1) == labels))
    p50, p99 = np.percentile(np.asarray(took) * 1000, [50, 99])
    return SmokeTest(accuracy, len(labels), float(p50), float(p99), probabilities)


def choose(dataset: Dataset, instances: int) -> npt.NDArray[np.intp]:
    """Choose test images, the same ones each time; return their indices, in order."""
    order = np.random.default_rng(_SEED).permutation(len(dataset.labels("test")))
    return np.sort(order[:instances])


def judge(result: SmokeTest, accuracy_floor: float, p99_ms: float) -> None:
    """Refuse a model that reads too few images right, or answers too slowly.

    Raises:
        JobFailed: It does.
    """
    if result.accuracy < accuracy_floor:
        raise JobFailed(
            "the deployed model reads too few images right",
            f"{result.accuracy:.3f} of {result.instances}; the floor is {accuracy_floor}",
            "see whether it was trained and is served with the same scaling of pixels",
        )  # fmt: skip
    if result.p99_ms > p99_ms:
        raise JobFailed(
            "the deployed model answers too slowly",
            f"99 % of requests took up to {result.p99_ms:.1f} ms; the ceiling is {p99_ms:g}",
            "give the service more cpu or replicas, or raise the ceiling",
        )  # fmt: skip
