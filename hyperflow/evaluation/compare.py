"""Whether one model reads more images right than another, or whether that may be chance.

Both have answered for the same labelled images. Those that both read right, or both wrong, say
nothing; of the others each is a toss of a coin if the models are equally good. So the probability
of at least as many tosses in the candidate's favour is exact, a sum of binomial coefficients
(McNemar 1947, Psychometrika 12, 153-157, in the exact form of Dixon and Mood 1946, J. Am. Stat.
Assoc. 41, 557-566; Dietterich 1998, Neural Computation 10, 1895-1923, recommends it for classifiers
that can be trained only once).
"""

from __future__ import annotations

import base64
import binascii
import math

import numpy as np
import numpy.typing as npt

from hyperflow import client, progress
from hyperflow.specs import Comparison, Endpoint
from hyperflow.volume.evaluation import Evaluation

Classes = npt.NDArray[np.uint8]

PAIRED, UNPAIRED = "McNemar's exact test, one-sided", "z-test of two proportions, one-sided"


def paired(candidate: Classes, serving: Classes, labels: Classes) -> Comparison:
    """Compare two models' answers image by image."""
    ours, theirs = candidate == labels, serving == labels
    gained, lost = int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))
    p_value = mcnemar(gained, lost)
    return Comparison(len(labels), float(ours.mean()), float(theirs.mean()), p_value, PAIRED, gained, lost)


def unpaired(candidate: float, serving: Classes, labels: Classes) -> Comparison:
    """Compare where only the candidate's accuracy is known; this sees less than the paired test does."""
    theirs = float(np.mean(serving == labels))
    pooled = (candidate + theirs) / 2
    deviation = math.sqrt(2 * pooled * (1 - pooled) / len(labels))
    z = (candidate - theirs) / deviation if deviation else 0.0
    return Comparison(len(labels), candidate, theirs, math.erfc(z / math.sqrt(2)) / 2, UNPAIRED)


def mcnemar(gained: int, lost: int) -> float:
    """Return the probability of at least `gained` heads in `gained + lost` tosses of a fair coin."""
    tosses = gained + lost
    term, total = math.comb(tosses, gained), 0
    for heads in range(gained, tosses + 1):
        total += term
        term = term * (tosses - heads) // (heads + 1)
    return float(total / 2**tosses)


def predictions(evaluation: Evaluation, data: str, count: int) -> Classes | None:
    """Return the answers that a trainer left for the test images of a data set, or None where it left none.

    Args:
        evaluation: What the trainer wrote beside the model.
        data: The data set's digest.
        count: Test images in it.
    """
    if evaluation.data.digest != data:
        return None
    try:
        answers = np.frombuffer(base64.b64decode(evaluation.predictions, validate=True), np.uint8)
    except binascii.Error:
        return None
    return answers if len(answers) == count else None


def ask(endpoint: Endpoint, images: Classes, stage: str) -> Classes:
    """Have a served model read images, many a request.

    Raises:
        JobFailed: There is no answer, or not one of the right form.
    """
    answers: list[int] = []
    batch = client.images_a_request(images)
    for start in range(0, len(images), batch):
        rows = client.probabilities(endpoint, images[start : start + batch], own=True)
        answers += [int(np.argmax(row)) for row in rows]
        text = f"asked the serving model (run {endpoint.model.run_id}) for {len(answers)} images"
        progress.to_stdout(progress.Progress(stage, len(answers), len(images), text))
    return np.asarray(answers, dtype=np.uint8)
