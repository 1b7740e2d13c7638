"""Whether the pictures that users send look like those that the model learnt from.

The newest pictures of the predictor's payload log are compared with the training set's in 16 dimensions, a Gaussian
random projection with a fixed seed (Johnson and Lindenstrauss 1984), by the two-sample Kolmogorov-Smirnov test in each,
with Bonferroni's correction; its probability is the asymptotic one with Stephens' correction for small samples (1970,
J. R. Stat. Soc. B 32, p. 115).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperflow.errors import DataError
from hyperflow.evaluation import logged
from hyperflow.specs import InputDrift

MOST_INPUTS = 2000
"""Most pictures that are looked at, the newest."""
LEAST_INPUTS = 100
"""Pictures below which nothing is said."""
DIMENSIONS = 16
REMEDY = "look at what was sent; if it is right, label some of it (`hyperflow pick`) and train with it"
"""What to do where the inputs have drifted."""

_STEPS = 16  # of brightness


def look(folder: Path, reference: NDArray[Any]) -> InputDrift:
    """Compare the newest pictures of a payload log with those of the training set.

    Args:
        folder: Where the predictor logs.
        reference: The training set's images, [n, …] of 0 to 255.

    Raises:
        Unavailable: The log cannot be read.
        DataError: There are too few pictures to say anything.
    """
    return measure(logged.newest(folder, math.prod(reference.shape[1:]), MOST_INPUTS), reference)


def measure(inputs: NDArray[Any], reference: NDArray[Any]) -> InputDrift:
    """Compare pictures with those of the training set.

    Args:
        inputs: Pixels 0 to 255, one picture a row in any shape.
        reference: The same of the training set; of more than MOST_INPUTS some are taken, evenly.

    Raises:
        DataError: There are too few to say anything.
    """
    fewest = min(len(inputs), len(reference))
    if fewest < LEAST_INPUTS:
        why = f"by chance alone so few look unlike the others; there must be {LEAST_INPUTS}"
        raise DataError(f"{fewest} pictures are too few to compare", why, "wait for more, or log a larger share")
    told = reference[:: math.ceil(len(reference) / MOST_INPUTS)]
    sent, known = (each.reshape(len(each), -1).astype(np.float64) for each in (inputs[:MOST_INPUTS], told))
    directions = np.random.default_rng(0).standard_normal((known.shape[1], DIMENSIONS)) / math.sqrt(DIMENSIONS)
    pairs = zip((sent @ directions).T, (known @ directions).T, strict=True)
    statistic = max(_kolmogorov_smirnov(one, other) for one, other in pairs)
    p_value = min(1.0, DIMENSIONS * _tail(statistic, len(sent) * len(known) / (len(sent) + len(known))))
    return InputDrift(
        len(sent), float((sent.mean(0) - known.mean(0)).mean()), float((sent.std(0) - known.std(0)).mean()),
        statistic, p_value, _brightness(sent), _brightness(known),
    )  # fmt: skip


def _brightness(pictures: NDArray[np.float64]) -> list[float]:
    counts, _ = np.histogram(pictures.mean(axis=1), bins=_STEPS, range=(0, 255))
    return [float(count) / len(pictures) for count in counts]


def _kolmogorov_smirnov(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    both = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(each), both, side="right") / len(each) for each in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _tail(statistic: float, effective: float) -> float:
    root = math.sqrt(effective)
    scaled = (root + 0.12 + 0.11 / root) * statistic
    if scaled < 0.2:  # the series alternates without end there, and the probability is 1 to 12 digits
        return 1.0
    series = sum((-1.0) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * series))
