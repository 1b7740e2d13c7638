"""Whether the pictures that users send look like those that the model learnt from.

The predictor's payload log (`--log_payloads` into a folder) is read, newest file first. The pictures are compared with
the training set's in 16 dimensions, a Gaussian random projection with a fixed seed (Johnson and Lindenstrauss 1984),
by the two-sample Kolmogorov-Smirnov test in each, with Bonferroni's correction; its probability is the asymptotic one
with Stephens' correction for small samples (1970, J. R. Stat. Soc. B 32, p. 115).
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperflow.errors import DataError, Unavailable

MOST_INPUTS = 2000
"""Most pictures that are looked at, the newest."""
LEAST_INPUTS = 100
"""Pictures below which nothing is said."""
MOST_BYTES = 64 * 2**20
"""Most bytes that are read of the log, from its end."""
DIMENSIONS = 16
REMEDY = "look at what was sent; if it is right, label some of it and train with it"
"""What to do where the inputs have drifted."""

_REQUEST = "org.kubeflow.serving.inference.request"
_TYPES = {"UINT8": "<u1", "INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8"}


@dataclass(frozen=True)
class InputDrift:
    """How far the inputs are from the training set.

    Args:
        inputs: How many pictures were compared.
        mean_shift: Mean over the pixels of the difference of their means, in 0 to 255; above 0 is brighter.
        spread_shift: The same of their standard deviations.
        statistic: Largest Kolmogorov-Smirnov statistic of the dimensions, 0 to 1.
        p_value: Probability of one as large if nothing has changed, corrected for the number of dimensions.
    """

    inputs: int
    mean_shift: float
    spread_shift: float
    statistic: float
    p_value: float

    @property
    def text(self) -> str:
        """All of it in a line."""
        return (
            f"{self.inputs} pictures: statistic {self.statistic:.3f} (p {self.p_value:.2g}), "
            f"brightness {self.mean_shift:+.1f} and spread {self.spread_shift:+.1f} of 255"
        )


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
        statistic, p_value,
    )  # fmt: skip


def read(folder: Path, pixels: int) -> NDArray[np.float64]:
    """Return the newest pictures of a payload log, at most MOST_INPUTS, the newest first.

    Lines that are damaged or not yet whole, and values that are no picture of 0 to 255, are left out.

    Args:
        folder: Where the predictor logs; one that is not there has no pictures.
        pixels: Numbers that a picture has.

    Raises:
        Unavailable: A file of the log is somebody else's alone.
    """
    found: list[NDArray[np.float64]] = []
    for line in _lines(folder):
        found.extend(_pictures(line, pixels)[::-1])
        if len(found) >= MOST_INPUTS:
            break
    return np.array(found[:MOST_INPUTS]).reshape(-1, pixels)


def _lines(folder: Path) -> Iterator[bytes]:
    left = MOST_BYTES
    for file in sorted(folder.glob("payloads-*.jsonl"), reverse=True):
        try:
            with file.open("rb") as log:
                size = log.seek(0, 2)
                log.seek(max(0, size - left))
                text = log.read(left)
        except FileNotFoundError:  # deleted meanwhile
            continue
        except OSError as error:
            remedy = "read it as the user that the predictor runs as"
            raise Unavailable(f"{file} cannot be read", error.strerror or str(error), remedy) from error
        left -= len(text)
        yield from reversed(text.split(b"\n"))
        if left <= 0:
            return


def _pictures(line: bytes, pixels: int) -> NDArray[np.float64]:
    try:
        event = json.loads(line)
        if event["type"] != _REQUEST:
            return np.empty((0, pixels))
        values = _values(event).astype(np.float64).reshape(-1, pixels)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError):
        return np.empty((0, pixels))
    return values[((values >= 0) & (values <= 255)).all(axis=1)]


def _values(event: Any) -> NDArray[Any]:
    if "data_base64" not in event:
        return _of_json(event["data"], b"")
    body = base64.b64decode(event["data_base64"], validate=True)
    question, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))  # V2's binary form: JSON, then the tensors
    return _of_json(question, body[end:])


def _of_json(question: Any, binary: bytes) -> NDArray[Any]:
    if "instances" in question:
        return np.array([each["flatten_input"] if isinstance(each, dict) else each for each in question["instances"]])
    tensor = question["inputs"]
    if not isinstance(tensor, list) or not isinstance(tensor[0], dict):  # V1 by columns
        return np.array(tensor["flatten_input"] if isinstance(tensor, dict) else tensor)
    size = tensor[0].get("parameters", {}).get("binary_data_size")
    if size is None:
        return np.array(tensor[0]["data"])
    return np.frombuffer(binary[:size], dtype=_TYPES[tensor[0]["datatype"]])


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
