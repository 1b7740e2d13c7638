"""The smoke test: labelled test images sent to a deployed model, one a request, as its users would."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperflow import client
from hyperflow.client import Access
from hyperflow.datasets import Dataset
from hyperflow.errors import JobFailed
from hyperflow.specs import Endpoint

START_SECONDS = 120.0
"""How long a first answer may take that may have to wait for a server to start, where a service scales to zero."""

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
        first_ms: Latency of the request before all of these, which may have had to wait for a server to start.
        answers: Probabilities, float64 [instances, classes].
    """

    accuracy: float
    instances: int
    p50_ms: float
    p99_ms: float
    first_ms: float
    answers: npt.NDArray[np.float64]


def run(
    endpoint: Endpoint,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    access: Access | None = None,
    seconds: float = client.SECONDS,
    first_seconds: float | None = None,
) -> SmokeTest:
    """Send each image in a request of its own and compare the answers with the labels.

    One more goes ahead of them and is timed apart: it opens what the others find open, and where the service has
    scaled to zero it waits for a server to start.

    Args:
        endpoint: Where to ask.
        images: Raw pixels 0–255, uint8 [n, height, width] or [n, height, width, 3].
        labels: Their classes, uint8 [n].
        access: How requests get there; by default as the environment says.
        seconds: How long an answer may take.
        first_seconds: How long the first one may; by default as long as the others.

    Raises:
        JobFailed: A request got no answer, or not one of the right form.
    """

    def ask(image: npt.NDArray[np.uint8], limit: float) -> tuple[list[float], float]:
        started = time.perf_counter()
        (answer,) = client.probabilities(endpoint, image[None], access, limit, own=True)
        return answer, (time.perf_counter() - started) * 1000

    _, first_ms = ask(images[0], seconds if first_seconds is None else first_seconds)
    answers, took = zip(*(ask(image, seconds) for image in images), strict=True)
    probabilities = np.asarray(answers, dtype=np.float64)
    accuracy = float(np.mean(probabilities.argmax(axis=1) == labels))
    p50, p99 = np.percentile(took, [50, 99])
    return SmokeTest(accuracy, len(labels), float(p50), float(p99), first_ms, probabilities)


def figures(result: SmokeTest) -> dict[str, Any]:
    """Return all that was measured, by its name, without the answers themselves."""
    return {name: value for name, value in vars(result).items() if name != "answers"}


def speed(p50_ms: float, p99_ms: float, first_ms: float) -> str:
    """Word how fast a model answered; 0 for a first answer that was not timed."""
    first = f", the first {first_ms:.1f} ms" if first_ms else ""
    return f"p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms{first}"


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
