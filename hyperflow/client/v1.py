"""KServe's V1 protocol: instances in, a row of probabilities each out."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hyperflow.client.access import Access
from hyperflow.client.http import OWN_QUESTION, SECONDS, post
from hyperflow.errors import JobFailed
from hyperflow.specs import Endpoint

_BODY_SHOWN = 500
_MOST_IMAGES, _MOST_NUMBERS = 256, 1 << 18  # of a request: the predictor takes 2 MB, and a number has up to 5 bytes
_LARGEST = 1e300  # neither infinite nor not a number, and no integer that a float cannot hold


def predict_url(endpoint: Endpoint) -> str:
    """Return the address that a service's predictions are asked at."""
    return f"{endpoint.url}/v1/models/{endpoint.name}:predict"


def images_a_request(images: npt.NDArray[np.uint8]) -> int:
    """Return how many images of a kind one request may carry, 1 to 256; predictors bound its length."""
    return max(1, min(_MOST_IMAGES, _MOST_NUMBERS // int(images[0].size)))


def probabilities(
    endpoint: Endpoint,
    images: npt.NDArray[np.uint8],
    access: Access | None = None,
    seconds: float = SECONDS,
    *,
    own: bool = False,
) -> list[list[float]]:
    """Ask for the classes of some images over the V1 protocol, one row of probabilities each.

    Args:
        endpoint: Where to ask.
        images: Raw pixels 0–255, uint8 [n, height, width] or [n, height, width, 3].
        access: How requests get there; by default as the environment says.
        seconds: How long an answer may take.
        own: Whether Hyperflow asks for itself; our predictor does not log such questions as its users'.

    Raises:
        JobFailed: There is no answer, or not one of the right form.
    """
    instances = [{"flatten_input": image.reshape(-1).tolist()} for image in images]
    headers = {OWN_QUESTION: "true"} if own else {}
    answer = post(predict_url(endpoint), {"instances": instances}, access, seconds, headers)
    predictions = answer.get("predictions")
    if not isinstance(predictions, list) or not all(_is_row(row) for row in predictions):
        raise JobFailed(
            f"{endpoint.url} does not answer with a list of probabilities an image", json.dumps(answer)[:_BODY_SHOWN],
            "see whether the right model is served",
        )  # fmt: skip
    if len({len(row) for row in predictions}) > 1:
        raise JobFailed(f"{endpoint.url} answers with rows of different lengths")
    if len(predictions) != len(images):
        raise JobFailed(f"{endpoint.url} gave {len(predictions)} answers to {len(images)} images")
    return predictions


def explanation(
    endpoint: Endpoint, image: npt.NDArray[np.uint8], access: Access | None = None, seconds: float = SECONDS
) -> list[float]:
    """Ask what the answer to an image rests on: for each number of it, how far the score falls without it.

    Args:
        endpoint: Where to ask; our predictor answers, other servers know no such path.
        image: Raw pixels 0–255, uint8 [height, width] or [height, width, 3].
        access: How requests get there; by default as the environment says.
        seconds: How long an answer may take.

    Raises:
        JobFailed: There is no answer, or not one of the right form.
    """
    url = f"{endpoint.url}/v1/models/{endpoint.name}:explain"
    answer = post(url, {"instances": [{"flatten_input": image.reshape(-1).tolist()}]}, access, seconds)
    told = answer.get("explanations")
    first = told[0] if isinstance(told, list) and told else None
    pixels = first.get("image") if isinstance(first, dict) else None
    if not isinstance(pixels, list) or len(pixels) != image.size or not _is_row(pixels):
        raise JobFailed(f"{endpoint.url} does not answer with a number a pixel", json.dumps(answer)[:_BODY_SHOWN])
    return pixels


def _is_row(row: object) -> bool:
    return (
        isinstance(row, Sequence)
        and len(row) > 0
        and all(isinstance(value, float | int) and abs(value) < _LARGEST for value in row)
    )
