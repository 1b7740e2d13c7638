"""What a trainer may leave beside its model about its test, for the report, the gate and the watch over drift.

    models/<model name>/<run id>/1/assets.extra/evaluation.json

The folder is TensorFlow's for extras beside a SavedModel; docs/own-trainer.md says how to write the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hyperflow.volume.paths import EVALUATION, MODEL_VERSION


@dataclass(frozen=True)
class Misread:
    """A test image that was read wrongly.

    Args:
        index: Which one.
        label: Its class.
        predicted: The class it was taken for.
        probability: How sure the model was of that, 0 to 1.
    """

    index: int
    label: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class ClassScores:
    """How well one class is read: precision, recall and F1, 0 to 1, and how many images it has."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class EvaluatedData:
    """The data set whose test images were read."""

    name: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Evaluation:
    """A model's test, as far as its trainer has told.

    Args:
        classes: Class names; a label is an index into them.
        confusion_matrix: Images by label (row) and prediction (column).
        per_class: Scores of each class.
        misread: The surest of the misread images, the surest first.
        predictions: The predicted classes of all test images, a byte each, in base 64.
        data: The data set.
        train_class_counts: Training images of each class.
        mean_confidence: Mean probability of the predicted classes, 0 to 1.
    """

    classes: tuple[str, ...] = ()
    confusion_matrix: tuple[tuple[int, ...], ...] = ()
    per_class: tuple[ClassScores, ...] = ()
    misread: tuple[Misread, ...] = ()
    predictions: str = ""
    data: EvaluatedData = field(default_factory=EvaluatedData)
    train_class_counts: tuple[int, ...] = ()
    mean_confidence: float = 0.0


_FORM = TypeAdapter(Evaluation)


def read(model_path: str) -> Evaluation:
    """Return what a trainer left beside a model; what is not of the form is said, and counts as nothing."""
    path = Path(model_path) / MODEL_VERSION / EVALUATION
    try:
        return _FORM.validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Evaluation()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        print(f"{path} is left out: {where or 'it'}: {first['msg']}", flush=True)
        return Evaluation()
