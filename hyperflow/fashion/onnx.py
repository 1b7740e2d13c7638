"""The ONNX copy of a served model, by which the predictor needs no TensorFlow; it is kept where it answers the same.

docs/decisions/onnx.md says why tf2onnx makes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperflow.fashion.network import Array
from hyperflow.volume.paths import ONNX

TOLERANCE = 1e-5
"""How far an answer may be from TensorFlow's own."""

_OPSET = 18
_ROWS = 256


class Differs(Exception):
    """The copy does not answer as TensorFlow does."""


def add(folder: Path, function: Any, instances: Array, answers: Mapping[str, Array]) -> dict[str, object]:
    """Put an ONNX copy beside a SavedModel, unless it cannot be made or answers something else.

    Args:
        folder: The folder of the SavedModel.
        function: The `tf.function` that is its signature, of one input.
        instances: The whole test set, an instance a row.
        answers: TensorFlow's answers to it, by output.

    Returns:
        What is to be told of it: the largest difference over how many instances, or why there is none.
    """
    try:
        content = convert(function)
        difference = largest_difference(content, instances, answers)
    except Exception as error:  # whatever a converter meets in a network must not cost the trained model
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
        print(f"no ONNX copy of the model, so TensorFlow will serve it: {why}", file=sys.stderr, flush=True)
        return {"left_out": why}
    place = folder / ONNX
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return {"instances": len(instances), "largest_difference": difference}


def convert(function: Any) -> bytes:
    """Convert a `tf.function` with an input signature; weights that are variables become constants."""
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=_OPSET)
    content: bytes = model.SerializeToString()
    return content


def largest_difference(content: bytes, instances: Array, answers: Mapping[str, Array]) -> float:
    """Have the copy answer all instances, and return how far it is from TensorFlow's answers at most.

    Raises:
        Differs: Further than TOLERANCE, or in what it answers with.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = sorted(output.name for output in session.get_outputs())
    if names != sorted(answers):
        raise Differs(f"its outputs are {names}, not {sorted(answers)}")
    (name,) = (given.name for given in session.get_inputs())
    largest = 0.0
    for rows in _slices(len(instances)):
        batch = instances[rows].reshape(-1, instances[0].size).astype(np.float32)
        for output, theirs in zip(names, session.run(names, {name: batch}), strict=True):
            largest = float(np.maximum(largest, np.abs(answers[output][rows] - theirs).max()))  # keeps a NaN
    if not largest <= TOLERANCE:
        raise Differs(f"an answer is {largest:.3g} from TensorFlow's, more than the {TOLERANCE:g} allowed")
    return largest


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, count, _ROWS))
