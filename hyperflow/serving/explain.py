"""Which parts of an instance an answer rests on, by occlusion: blank a part, and see how far the answer's score falls.

It asks of the model nothing but answers, so it does for both runtimes and every model of one input and scores.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperflow.serving.tensors import Array, Model, RequestError, Shape, Tensors, TensorSpec

WINDOWS = 49
"""Most calls of the model for an instance, beside the one that answers it: a window each."""

Ask = Callable[[Tensors, int], Awaitable[dict[str, Array]]]
Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Explanation:
    """Of one instance.

    Args:
        predicted: The class answered.
        score: Its score.
        image: How far that falls where this number is blanked; of the model's own shape, float64. Below zero where
            the score grows.
    """

    predicted: int
    score: float
    image: npt.NDArray[np.float64]


class Explainer:
    """Explains one model's answers.

    Args:
        model: The model.
        scores: Name of the output that is explained, or None where none has scores.
    """

    def __init__(self, model: Model, scores: str | None) -> None:
        self._inputs, self._scores = list(model.inputs.values()), scores
        self._masks = windows(self._inputs[0]) if len(self._inputs) == 1 else np.zeros((0,), bool)

    async def explain(self, tensors: Tensors, batch_rows: int, ask: Ask) -> list[Explanation]:
        """Explain each instance, one after the other, so that what others ask finds room between the calls.

        Args:
            tensors: The instances.
            batch_rows: Most instances in one call.
            ask: Asks the model.

        Raises:
            RequestError: The model has several inputs, or no scores of classes.
        """
        if len(self._inputs) != 1 or self._scores is None:
            raise RequestError("only a model of one input, with scores of classes as an output, can be explained")
        name = self._inputs[0].name
        return [await self._one(name, self._scores, instance, batch_rows, ask) for instance in tensors[name]]

    async def _one(self, name: str, output: str, instance: Array, batch_rows: int, ask: Ask) -> Explanation:
        blanked = np.where(self._masks, np.zeros((), instance.dtype), instance)
        rows = np.concatenate([instance[None], blanked])
        parts = [rows[start : start + batch_rows] for start in range(0, len(rows), batch_rows)]
        scores = np.concatenate([(await ask({name: part}, len(part)))[output] for part in parts]).astype(np.float64)
        predicted = int(scores[0].argmax())
        falls = scores[0, predicted] - scores[1:, predicted]
        image = np.tensordot(falls, self._masks.astype(np.float64), 1)
        return Explanation(predicted, float(scores[0, predicted]), image)


def windows(spec: TensorSpec) -> Masks:
    """Cut an instance into windows, which together cover each of its numbers once.

    Returns:
        bool [windows, *shape of an instance]: squares of an image's rows and columns through all its channels, where an
        instance is one; pieces of equal length of a list.
    """
    rows, columns, channels = _as_image(spec.shape)
    most = math.isqrt(WINDOWS)
    high, wide = math.ceil(rows / most), math.ceil(columns / (most if rows > 1 else WINDOWS))
    across = math.ceil(columns / wide)
    cells = np.arange(rows)[:, None] // high * across + np.arange(columns)[None, :] // wide
    cells = np.repeat(cells[:, :, None], channels, axis=2).reshape(spec.shape)
    return np.stack([cells == cell for cell in range(int(cells.max()) + 1)])


def _as_image(shape: Shape) -> tuple[int, int, int]:
    """Read a shape as rows, columns and channels; a list of a square number is taken for a square image."""
    if len(shape) >= 2:
        return shape[0], shape[1], math.prod(shape[2:])
    size = math.prod(shape)
    side = math.isqrt(size)
    return (side, side, 1) if side * side == size else (1, size, 1)
