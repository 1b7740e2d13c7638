"""What images a data set may have, and the four IDX files of arrays; a test part is put aside where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperflow.datasets.files import FILES, Found
from hyperflow.datasets.idx import Bytes, to_idx
from hyperflow.errors import DataError

Shape = tuple[int, int, int]

LEAST_SIDE = 8
MAX_NUMBERS = 1 << 18
"""Numbers in an image: as many as one request to the predictor holds, 512 × 512 grey or 295 × 295 in colour."""

MAX_CLASSES = 256
TEST_SHARE = 0.2

_SEED = 0
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Part:
    """Images of one split, uint8 [n, height, width] or [n, height, width, 3], and their labels, uint8 [n]."""

    images: Bytes
    labels: Bytes

    def take(self, chosen: npt.NDArray[np.bool_]) -> Part:
        """Select some."""
        return Part(self.images[chosen], self.labels[chosen])


def to_found(place: str, train: Part, test: Part | None, classes: Sequence[str]) -> Found:
    """Make the four files.

    Args:
        place: Where the arrays come from.
        train: What to learn from.
        test: What to test with; None to put a share of each class aside, the same one each time.
        classes: Names of the classes; none where they have none.

    Raises:
        DataError: A name cannot be one, or a class has too few images to put one aside.
    """
    check_names(place, classes)
    note = ""
    if test is None:
        train, test = _put_aside(place, train)
        note = f"it has no test part: {len(test.labels)} images, {TEST_SHARE:.0%} of each class, were put aside as one"
    arrays = (train.images, train.labels, test.images, test.labels)
    return Found(place, dict(zip(FILES, map(to_idx, arrays), strict=True)), {}, tuple(classes), note)


def shape_of(images: Bytes) -> Shape:
    """Return height, width and channels of each of some images."""
    height, width, *channels = images.shape[1:]
    return height, width, channels[0] if channels else 1


def check_shape(where: str, dimensions: Sequence[int]) -> None:
    """Refuse images that no network here takes, or that no request holds.

    Args:
        where: Which image or file, for messages.
        dimensions: Height, width and, where there are any, channels.

    Raises:
        DataError: It has another number of channels than 1 or 3, or a side is too short, or there are too many numbers.
    """
    shown = " × ".join(map(str, dimensions))
    if len(dimensions) not in (2, 3) or (*dimensions, 1)[2] not in (1, 3):
        remedy = "give images of height × width, or height × width × 3 in colour"
        raise DataError(f"{where} has images of another form", f"one is {shown or 'a single number'}", remedy)
    if min(dimensions[:2]) < LEAST_SIDE:
        remedy = f"give images of {LEAST_SIDE} × {LEAST_SIDE} pixels at least"
        raise DataError(f"{where} is too small", f"it has {shown} pixels", remedy)
    if int(np.prod(dimensions, dtype=np.int64)) > MAX_NUMBERS:
        why = f"{shown} are more than {MAX_NUMBERS} numbers"
        raise DataError(f"{where} is too large", why, "shrink the images, to 224 × 224 for example")


def check_names(place: str, classes: Sequence[str]) -> None:
    """Refuse names that are not there, there twice, too long or not to be printed, and too many classes.

    Raises:
        DataError: There is one.
    """
    remedy = f"give each class a name of its own, of at most {_LONGEST_NAME} printable characters"
    for number, name in enumerate(classes):
        if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
            raise DataError(f"{place}: a class cannot be called {name[:_LONGEST_NAME]!r}", remedy=remedy)
        if name in classes[:number]:
            raise DataError(f"{place}: two classes have one name", repr(name), remedy)
    if len(classes) > MAX_CLASSES:
        why = f"it has {len(classes)}, and a label is one byte"
        raise DataError(f"{place} has too many classes", why, f"give {MAX_CLASSES} at most")


def _put_aside(place: str, images: Part) -> tuple[Part, Part]:
    random = np.random.default_rng(_SEED)
    aside = np.zeros(len(images.labels), dtype=np.bool_)
    for label in np.unique(images.labels):
        members = np.flatnonzero(images.labels == label)
        if len(members) < 2:
            remedy = "give each class two images at least, or give a test part"
            raise DataError(f"{place} has no test part, and none can be made", f"class {label} has one image", remedy)
        aside[random.permutation(members)[: max(1, round(len(members) * TEST_SHARE))]] = True
    return images.take(~aside), images.take(aside)
