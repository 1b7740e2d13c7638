"""Tensors, and what clients send in their place: strict, and cheap to refuse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperflow.errors import HyperflowError

Array = NDArray[Any]
Tensors = Mapping[str, Array]
Shape = tuple[int, ...]

DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
"""The V2 protocol's names of the types that are numbers or booleans."""

_CALL_NUMBERS = 1 << 20
_DATATYPE_OF = {dtype: name for name, dtype in DATATYPES.items()}
_JSON_TYPES = {"b": frozenset({bool}), "i": frozenset({int}), "u": frozenset({int}), "f": frozenset({int, float})}


class RequestError(HyperflowError):
    """A request that cannot be answered, and why; `status` is the HTTP status that says so."""

    def __init__(self, reason: str, status: int = 400) -> None:
        self.status = status
        super().__init__(reason)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Args:
        name: Its name in the model's signature.
        dtype: The type of its numbers.
        shape: The shape of one instance, without the batch dimension.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape

    @property
    def datatype(self) -> str:
        """The V2 protocol's name of the type."""
        return _DATATYPE_OF[self.dtype]

    @cached_property
    def shapes(self) -> frozenset[Shape]:
        """The shapes in which an instance may come: as declared, flat, or as a square image of one channel or three."""
        size = math.prod(self.shape)
        squares = {*_square(size, 1), *_square(size, 3)} if len(self.shape) == 1 else set()
        bare = {self.shape[:-1]} if self.shape[-1:] == (1,) else set()
        return frozenset({self.shape, (size,), *squares, *bare})

    @cached_property
    def lists(self) -> int:
        """How many lists one instance may be made of."""
        return max(sum(math.prod(shape[:depth]) for depth in range(len(shape))) for shape in self.shapes)

    def from_json(self, instances: Sequence[object]) -> Array:
        """Read a batch of nested lists of numbers.

        Raises:
            RequestError: They are not numbers, or not in one of this tensor's shapes.
        """
        shape = _shape_of(instances[0], depth=5)
        if shape not in self.shapes:
            raise RequestError(f"input {self.name!r}: an instance has {_words(shape)}; {self._wanted}")
        numbers = _flatten(instances, shape)
        if numbers is None:
            raise RequestError(f"input {self.name!r}: not every instance has {_words(shape)}; {self._wanted}")
        return self.from_numbers(numbers).reshape(-1, *self.shape)

    def from_numbers(self, numbers: Sequence[object]) -> Array:
        """Read a flat list of numbers.

        Raises:
            RequestError: They are not numbers, or the tensor's type does not hold them.
        """
        array = to_array(numbers, self.dtype, self.name)
        self._check_finite(array)
        return array

    def from_array(self, array: Array) -> Array:
        """Read a batch that came as an array of any type and of one of this tensor's shapes.

        Raises:
            RequestError: Shape or type do not suit, or a number is not finite.
        """
        if array.shape[1:] not in self.shapes:
            raise RequestError(f"input {self.name!r}: an instance has {_words(array.shape[1:])}; {self._wanted}")
        if not _holds(self.dtype, array):
            raise RequestError(f"input {self.name!r} is of type {self.datatype}, which does not hold what was sent")
        with np.errstate(over="ignore"):
            cast = array.astype(self.dtype, copy=False).reshape(-1, *self.shape)
        self._check_finite(cast)
        return cast

    def _check_finite(self, array: Array) -> None:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RequestError(f"input {self.name!r}: every number must be finite and within {self.datatype}")

    @property
    def _wanted(self) -> str:
        return f"it takes {' or '.join(sorted(map(_words, self.shapes), key=len))}"


class Model(Protocol):
    """What is served: named tensors in, named tensors out, the batch dimension first."""

    platform: str
    version: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def run(self, tensors: Tensors) -> dict[str, Array]:
        """Answer a batch."""


def to_array(numbers: Sequence[object], dtype: np.dtype[Any], name: str) -> Array:
    """Make an array of a flat list of JSON numbers (or booleans, where the type is that).

    Raises:
        RequestError: Something else is among them, or the type does not hold one of them.
    """
    # Checked first: numpy would read texts, null and true as numbers, and long texts as gigabytes.
    if not _JSON_TYPES[dtype.kind].issuperset(map(type, numbers)):
        kind = {"b": "true or false", "f": "numbers"}.get(dtype.kind, "whole numbers")
        raise RequestError(f"input {name!r} takes nothing but {kind}")
    try:
        with np.errstate(over="ignore"):
            return np.array(numbers, dtype=dtype)
    except OverflowError:
        raise RequestError(f"input {name!r}: a number is out of the range of {_DATATYPE_OF[dtype]}") from None


def rows_a_call(inputs: Mapping[str, TensorSpec], most: int) -> int:
    """Return how many instances one call of a model takes: fewer than the most where they are large."""
    size = sum(math.prod(spec.shape) for spec in inputs.values())
    return max(1, min(most, _CALL_NUMBERS // max(size, 1)))


def _square(size: int, channels: int) -> set[Shape]:
    """Return the shapes of a square image that has so many numbers, if there is such an image."""
    side = math.isqrt(size // channels)
    if side * side * channels != size or size <= channels > 1:
        return set()
    return {(side, side), (side, side, 1)} if channels == 1 else {(side, side, channels)}


def _shape_of(value: object, depth: int) -> Shape:
    shape: list[int] = []
    while type(value) is list and len(shape) < depth:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _flatten(instances: Sequence[object], shape: Shape) -> list[object] | None:
    """Take the lists apart, one level of all instances at a time; None where one is not of the shape."""
    level: list[Any] = list(instances)
    for size in shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            return None
        level = list(chain.from_iterable(level))
    return level


def _holds(dtype: np.dtype[Any], array: Array) -> bool:
    if dtype.kind == "f":
        return array.dtype.kind in "iuf"
    if dtype.kind == "b" or array.dtype.kind not in "iu":
        return dtype.kind == array.dtype.kind
    limits = np.iinfo(dtype)
    return array.size == 0 or bool(int(array.min()) >= limits.min and int(array.max()) <= limits.max)


def _words(shape: Shape) -> str:
    return "×".join(map(str, shape)) + " numbers" if shape else "one number"
