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
_LOST = 0.1  # of the accuracy: more than a sample of some hundred images explains


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
        images: Raw pixels 0–255, uint8 [n, height, width] or [n, height, width, 3].
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


def check_classes(result: SmokeTest, dataset: Dataset) -> None:
    """Refuse answers that are not about a data set's classes.

    Raises:
        JobFailed: There are more of them, or fewer.
    """
    answered, known = result.answers.shape[1], len(dataset.classes)
    if answered != known:
        why = f"it answers with {answered} probabilities, and {dataset.name} has {known} classes"
        raise JobFailed("the model was made from another data set", why, "give the one it was made from with --dataset")


def judge(result: SmokeTest, accuracy_floor: float, p99_ms: float, tested: float = 0.0) -> None:
    """Refuse a model that reads too few images right, or answers too slowly.

    Args:
        result: What it answered.
        accuracy_floor: Least share of images to be read right.
        p99_ms: Most milliseconds for 99 % of the requests.
        tested: Its accuracy when its trainer tested it; 0 where that is not known.

    Raises:
        JobFailed: It does.
    """
    if result.accuracy < accuracy_floor:
        raise JobFailed(
            "the deployed model reads too few images right",
            f"{result.accuracy:.3f} of {result.instances}; the floor is {accuracy_floor}",
            _remedy(result.accuracy, tested),
        )  # fmt: skip
    if result.p99_ms > p99_ms:
        raise JobFailed(
            "the deployed model answers too slowly",
            f"99 % of requests took up to {result.p99_ms:.1f} ms; the ceiling is {p99_ms:g}",
            "give the service more cpu or replicas, or raise the ceiling",
        )  # fmt: skip


def _remedy(accuracy: float, tested: float) -> str:
    """Say what to do about a low accuracy: it is the model's own, or something is lost on the way to it."""
    if not tested:
        return "see which images it misreads; train it longer or on more data, or lower the floor"
    if accuracy < tested - _LOST:
        return f"its trainer saw {tested:.3f}: see whether it is served with the scaling of pixels it was trained with"
    return f"that is near the {tested:.3f} of its trainer's test: train it longer or on more data, or lower the floor"
