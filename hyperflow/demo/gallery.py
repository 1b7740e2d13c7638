"""Labelled test images to pick from, and what the model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperflow import client, datasets, volume
from hyperflow.datasets import Dataset
from hyperflow.demo.pictures import Form, Pixels
from hyperflow.demo.predictor import Predictor, Probabilities
from hyperflow.errors import DataError, InvalidParameter

NO_SOURCE = "none"
SHOWN = 20
ASKED_FOR_MISREAD = 256
"""How many images are asked about to find misread ones; fewer where they are large."""

_REQUESTS = 8
_DARK = 64


def find_dataset(dataset: str, source: str) -> Dataset:
    """Open a data set on the volume, or load it from a source.

    Args:
        dataset: The data set's name.
        source: Where to load it from if the volume has none, as in `hyperflow.data.load`; `none` to load nothing.

    Raises:
        DataError: There is none, or it is damaged.
        Unavailable: It was found elsewhere, and the volume cannot be written.
    """
    stored = datasets.newest(dataset)
    if stored:
        return stored
    if source == NO_SOURCE:
        raise DataError(f"the volume has no data set {dataset!r}", str(volume.root()), "load it, or name a source")
    return datasets.load(source, dataset)


@dataclass(frozen=True)
class Selection:
    """Test images as the page shows them.

    Args:
        indices: Which ones.
        answers: What the model says to each, or None where it was not asked.
        asked: How many images the model was asked about to find these.
        right: How many of those it read right.
    """

    indices: tuple[int, ...]
    answers: Probabilities | None = None
    asked: int = 0
    right: int = 0


class Gallery:
    """The test images of a data set.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 3].
        labels: uint8 [n].
        classes: Class names.
    """

    def __init__(self, images: Pixels, labels: Pixels, classes: Sequence[str]) -> None:
        self.images, self.labels, self.classes = images, labels, tuple(classes)
        light_on_black = images.ndim == 3 and bool(np.median(images) < _DARK)
        self.form = Form(images.shape[1:], light_on_black)
        self._random = np.random.default_rng()

    def __getitem__(self, index: object) -> tuple[Pixels, int]:
        """Return an image and its label.

        Raises:
            InvalidParameter: There is none of this number.
        """
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(self.labels):
            raise InvalidParameter("index", index, f"a number from 0 to {len(self.labels) - 1}")
        return self.images[index], int(self.labels[index])

    def sample(self, count: int = SHOWN) -> Selection:
        """Choose images at random, without asking the model."""
        count = min(count, len(self.labels))
        return Selection(tuple(self._random.choice(len(self.labels), count, replace=False).tolist()))

    def judged(self, predictor: Predictor, selection: Selection) -> Selection:
        """Have the model read the images chosen.

        Raises:
            JobFailed: It gives no answer.
        """
        chosen = list(selection.indices)
        answers = predictor.ask(self.images[chosen])
        right = int((answers.argmax(axis=1) == self.labels[chosen]).sum())
        return Selection(selection.indices, answers, len(chosen), right)

    def misread(self, predictor: Predictor) -> Selection:
        """Choose images that the model reads wrongly, the surest mistakes first.

        Raises:
            JobFailed: It gives no answer.
        """
        most = min(ASKED_FOR_MISREAD, _REQUESTS * client.images_a_request(self.images))
        judged = self.judged(predictor, self.sample(max(SHOWN, most)))
        assert judged.answers is not None
        chosen = np.asarray(judged.indices)
        wrong = np.flatnonzero(judged.answers.argmax(axis=1) != self.labels[chosen])
        worst = wrong[np.argsort(-judged.answers[wrong].max(axis=1))][:SHOWN]
        return Selection(tuple(chosen[worst].tolist()), judged.answers[worst], judged.asked, judged.right)
