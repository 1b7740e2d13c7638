"""The smoke test: labelled test images sent to a deployed model, one a request, as its users would."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperflow.errors import JobFailed
from hyperflow.specs import Endpoint

_TIMEOUT = 30.0  # seconds a request may take before the service counts as not answering
_BODY_SHOWN = 500


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


def run(endpoint: Endpoint, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> SmokeTest:
    """Send each image in a request of its own and compare the answers with the labels.

    The first request is not timed: it opens what later ones find open.

    Args:
        endpoint: Where to ask.
        images: Raw pixels 0–255, uint8 [n, height, width].
        labels: Their classes, uint8 [n].

    Raises:
        JobFailed: A request got no answer, or not one of the right form.
    """
    predict(endpoint, images[:1])
    answers, seconds = [], []
    for image in images:
        started = time.perf_counter()
        answers.append(predict(endpoint, image[None])[0])
        seconds.append(time.perf_counter() - started)
    probabilities = np.asarray(answers, dtype=np.float64)
    accuracy = float(np.mean(probabilities.argmax(axis=1) == labels))
    p50, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 99])
    return SmokeTest(accuracy, len(labels), float(p50), float(p99), probabilities)


def predict(endpoint: Endpoint, images: npt.NDArray[np.uint8]) -> list[list[float]]:
    """Ask for the classes of some images over the V1 protocol.

    Raises:
        JobFailed: There is no answer, or not one of the right form.
    """
    instances = [{"flatten_input": image.reshape(-1).tolist()} for image in images]
    answer = post(f"{endpoint.url}/v1/models/{endpoint.name}:predict", {"instances": instances})
    predictions = answer.get("predictions")
    if not isinstance(predictions, list) or not all(_is_row(row) for row in predictions):
        raise JobFailed(
            f"{endpoint.url} does not answer with a list of probabilities an image", json.dumps(answer)[:_BODY_SHOWN],
            "see whether the right model is served",
        )  # fmt: skip
    if len(predictions) != len(images):
        raise JobFailed(f"{endpoint.url} gave {len(predictions)} answers to {len(images)} images")
    return predictions


def post(url: str, body: object) -> dict[str, object]:
    """Send JSON and return the JSON object that is answered.

    Raises:
        JobFailed: The answer is an error, or none.
    """
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        text = error.read(_BODY_SHOWN).decode("utf-8", "replace")
        raise JobFailed(f"{url} answers {error.code}", text, "look at the predictor's log") from error
    except (OSError, ValueError) as error:
        raise JobFailed(f"{url} gives no answer", str(error), "see whether the service runs, and its log") from error
    if not isinstance(answer, dict):
        raise JobFailed(f"{url} does not answer with a JSON object", str(answer)[:_BODY_SHOWN])
    return answer


def _is_row(row: object) -> bool:
    return isinstance(row, Sequence) and len(row) > 0 and all(isinstance(value, float | int) for value in row)
