"""Where the served model comes from, and how it did in its test, as the files beside it say: for whoever watches it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from hyperflow.volume import cards
from hyperflow.volume.paths import EVALUATION


@dataclass(frozen=True)
class Expected:
    """What a model's answers looked like when it was made; what is not known is empty or 0.

    Args:
        made: When, in seconds since 1970.
        classes: Share of each class in the training set.
        confidence: Mean confidence on the test set.
    """

    made: float = 0.0
    classes: tuple[float, ...] = ()
    confidence: float = 0.0


def properties(folder: Path, model_name: str) -> dict[str, Any]:
    """Return a model's place on the volume, the run that made it and its test accuracy; nothing if it has no card.

    Args:
        folder: The folder above the version folders.
        model_name: The name in the paths.
    """
    card = cards.read(folder)
    if card is None or not isinstance(card.run_id, str) or not isinstance(card.accuracy, int | float):
        return {}
    # KServe mounts the folder under another name; there the service has the name of the model's folder.
    name = folder.parent.name if folder.name == card.run_id else model_name
    return {"path": f"models/{name}/{card.run_id}", "run_id": card.run_id, "accuracy": card.accuracy}


def expected(folder: Path, version: str) -> Expected:
    """Read what the predictor's answers are compared with; what is missing or of another form counts as nothing.

    Args:
        folder: The folder above the version folders.
        version: The version served.
    """
    card = cards.read(folder)
    try:
        evaluation = orjson.loads((folder / version / EVALUATION).read_bytes())
    except (OSError, ValueError):
        evaluation = {}
    evaluation = evaluation if isinstance(evaluation, dict) else {}
    made = _number(card.made) if card else 0.0
    return Expected(made, _shares(evaluation), _number(evaluation.get("mean_confidence")))


def _shares(evaluation: Mapping[str, Any]) -> tuple[float, ...]:
    counts = evaluation.get("train_class_counts")
    numbers = [_number(count) for count in counts] if isinstance(counts, list) else []
    total = sum(numbers)
    return tuple(number / total for number in numbers) if total else ()


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else 0.0
