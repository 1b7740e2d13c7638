"""Pictures of a payload log that a person labels, so that they come back as data to learn from.

    pick ──► a folder with labels.csv and pictures/*.png ──► a person ──► labels.csv ──► collect ──► an .npz

A picture is known by the id of its request and its place in that request, from 0. A fifth of what is labelled becomes
test images. Which ones, a digest of each picture says, so that none ever moves from one part to the other.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hyperflow import volume
from hyperflow.datasets import Dataset, npz, pictures
from hyperflow.datasets.arrays import TEST_SHARE
from hyperflow.errors import Conflict, DataError, InvalidParameter, one_of
from hyperflow.evaluation import logged
from hyperflow.volume import files

LABELS, PICTURES = "labels.csv", "pictures"

_COLUMNS = ("id", "index", "label", "confidence", "picture")
_FORMULA = ("=", "+", "-", "@")
_MOST_DIGITS = 9

Image = NDArray[np.uint8]
Key = tuple[str, int]
"""A request's id, and a picture's place in it."""


@dataclass(frozen=True)
class Labelled:
    """What came of labels.

    Args:
        train: Labelled pictures among the images to learn from.
        test: Those among the test images.
        known: Those that the data set had already, and that were left out.
        skipped: Lines without a label.
    """

    train: int
    test: int
    known: int
    skipped: int


def pick(folder: Path, out: Path, dataset: Dataset, most: int) -> int:
    """Write the pictures of a payload log that a model was least sure of, to be labelled; return how many.

    `out` gets a PNG of each, and a table with a line for each: what the model has answered stands as its label. Left
    out are pictures that the data set has, those there twice, and requests whose id is not theirs alone, or would be a
    formula in a spreadsheet.

    Args:
        folder: Where the predictor logs.
        out: The folder to make; only its owner can read it.
        dataset: What the model learnt from: the pictures' shape, and the classes.
        most: Most pictures.

    Raises:
        Unavailable: The log cannot be read, or the folder not written.
        Conflict: The folder is there.
        DataError: There is no picture to be labelled.
    """
    _refuse_taken(out)
    asked, answered = _read(folder, dataset)
    known = _contents(dataset)
    rows: list[tuple[float, Key, str, Image]] = []
    for key, image in asked.items():
        if key[0].startswith(_FORMULA) or image.tobytes() in known:
            continue
        known.add(image.tobytes())
        row = answered.get(key)
        name = "" if row is None else dataset.classes[int(row.argmax())]
        rows.append((0.0 if row is None else float(row.max()), key, name, image))
    if not rows:
        why = f"none in {folder} has {'×'.join(map(str, dataset.shape))} numbers of 0 to 255 and is new to the data set"
        raise DataError("there is no picture to be labelled", why, "give the log and the --dataset of one model")
    rows.sort(key=lambda row: row[0])
    with volume.staged(out) as made:
        made.chmod(0o700)
        (made / PICTURES).mkdir()
        with (made / LABELS).open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(_COLUMNS)
            for number, (confidence, key, name, image) in enumerate(rows[:most], 1):
                picture = f"{PICTURES}/{number:04}.png"
                (made / picture).write_bytes(pictures.encode(image))
                table.writerow([*key, name, f"{confidence:.4f}", picture])
    return min(most, len(rows))


def collect(folder: Path, labels: Path, out: Path, dataset: Dataset, *, alone: bool = False) -> Labelled:
    """Write labelled pictures of a payload log as a data set, an .npz that `data_source` takes.

    Args:
        folder: Where the predictor logs.
        labels: A table, CSV, with the columns id, label and, for requests of several pictures, index; others are for
            people. A line without a label is left out.
        out: The .npz to write.
        dataset: The data set that they join, and whose classes they have.
        alone: Whether to write the labelled pictures alone; a test part is then put aside when they are loaded.

    Raises:
        InvalidParameter: `out` does not end in .npz.
        Conflict: `out` is there.
        Unavailable: The log cannot be read, or `out` not written.
        DataError: A line names no picture of the log or no class, or one picture twice, or nothing is left.
    """
    if out.suffix != ".npz":
        raise InvalidParameter("OUT", str(out), "a file's name that ends in .npz")
    _refuse_taken(out)
    given, skipped = _labels(labels, dataset)
    asked, _ = _read(folder, dataset)
    found = _matched(given, asked, labels)
    known = _contents(dataset) if not alone else set()
    new = {content: line for content, line in found.items() if content not in known}
    if not new:
        why = f"{len(found)} are labelled, {len(found)} of them are in {dataset.name} already; {skipped} have no label"
        raise DataError(f"{labels} adds no picture", why, "label pictures that `hyperflow pick` has found")
    tested = sum(map(_is_test, new))
    arrays = _alone(new, dataset) if alone else _joined(new, dataset)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    npz.read(str(out), buffer.getvalue())  # as `data_source` will
    if not files.write_once(out, buffer.getvalue()):
        _refuse_taken(out)
    train, test = (len(new), 0) if alone else (len(new) - tested, tested)
    return Labelled(train, test, len(found) - len(new), skipped)


def _refuse_taken(out: Path) -> None:
    if out.exists():
        raise Conflict(f"{out} is in the way", "nothing is written over", "give another name, or move it away")


def _read(folder: Path, dataset: Dataset) -> tuple[dict[Key, Image], dict[Key, NDArray[np.float64]]]:
    """Return the pictures of a log and the scores answered, without requests whose id another has too."""
    asked: dict[str, list[Image | None]] = {}
    answered: dict[str, NDArray[np.float64]] = {}
    twice = set()
    for event in logged.events(folder):
        name = event.get("id")
        if not isinstance(name, str):
            continue
        sent = logged.pictures(event, math.prod(dataset.shape))
        if len(sent):
            twice |= {name} & asked.keys()
            asked[name] = [logged.as_image(picture, dataset.shape) for picture in sent]
        elif len(rows := logged.scores(event, len(dataset.classes))):
            answered[name] = rows
    alone = {name: images for name, images in asked.items() if name not in twice}
    images = {(name, i): image for name, sent in alone.items() for i, image in enumerate(sent) if image is not None}
    return images, {(name, i): row for name in alone.keys() & answered.keys() for i, row in enumerate(answered[name])}


def _contents(dataset: Dataset) -> set[bytes]:
    return {image.tobytes() for split in ("train", "test") for image in dataset.images(split)}


def _labels(path: Path, dataset: Dataset) -> tuple[dict[Key | str, tuple[int, int]], int]:
    """Return line and class by what each line names, a request's id alone without an index; and how many have none."""
    numbers = {name: number for number, name in enumerate(dataset.classes)}
    given: dict[Key | str, tuple[int, int]] = {}
    skipped = 0
    for line, row in _lines(path):
        name = (row.get("label") or "").strip()
        if not name:
            skipped += 1
            continue
        where = f"{path}, line {line}"
        if name not in numbers:
            raise DataError(
                f"{where}: {name!r} is no class of {dataset.name}", remedy=f"give {one_of(dataset.classes)}"
            )
        key = _key(row, where)
        if key in given:
            raise DataError(f"{where}: the picture of line {given[key][0]} once more", remedy="give it one line")
        given[key] = line, numbers[name]
    return given, skipped


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, str | None]]]:
    remedy = f"give a CSV file in UTF-8 as `hyperflow pick` writes it, with the columns {', '.join(_COLUMNS[:3])}"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if missing := {"id", "label"} - set(table.fieldnames or ()):
                raise DataError(f"{path} has no column {one_of(sorted(missing))}", remedy=remedy)
            for row in table:
                yield table.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read", str(error), remedy) from error


def _key(row: Mapping[str, str | None], where: str) -> Key | str:
    name, index = (row.get("id") or "").strip(), (row.get("index") or "").strip()
    if not index:
        return name
    if not (index.isascii() and index.isdigit() and len(index) <= _MOST_DIGITS):
        raise DataError(f"{where}: {index!r} is no index", remedy="give the picture's place in its request, from 0")
    return name, int(index)


def _matched(
    given: Mapping[Key | str, tuple[int, int]], asked: Mapping[Key, Image], path: Path
) -> dict[bytes, tuple[int, int]]:
    """Return line and class by the pictures' contents."""
    found: dict[bytes, tuple[int, int]] = {}
    several = {name for name, index in asked if index}
    for key, (line, number) in given.items():
        where = f"{path}, line {line}"
        if isinstance(key, str) and key in several:
            raise DataError(
                f"{where}: request {key} has several pictures", remedy="say in a column index which, from 0"
            )
        name, index = (key, 0) if isinstance(key, str) else key
        image = asked.get((name, index))
        if image is None:
            why = "no request has this id, or several have it; or it has fewer pictures, or others than of 0 to 255"
            raise DataError(
                f"{where}: the log has no picture {index} of a request {name}",
                why,
                "give ids that `hyperflow pick` has written",
            )
        before, other = found.setdefault(image.tobytes(), (line, number))
        if other != number:
            raise DataError(f"{where}: the picture is that of line {before}, with another label", remedy="give it one")
    return found


def _is_test(content: bytes) -> bool:
    return hashlib.sha256(content).digest()[0] < TEST_SHARE * 256


def _joined(new: Mapping[bytes, tuple[int, int]], dataset: Dataset) -> dict[str, NDArray[np.generic]]:
    """Add labelled pictures to both parts of a data set."""
    arrays: dict[str, NDArray[np.generic]] = {"class_names": np.array(dataset.classes)}
    for split in ("train", "test"):
        part = {content: line for content, line in new.items() if _is_test(content) == (split == "test")}
        images, labels = dataset.images(split), dataset.labels(split)
        arrays[f"x_{split}"] = np.concatenate([images, _images(part, images.shape[1:])])
        arrays[f"y_{split}"] = np.concatenate([labels, np.array([line[1] for line in part.values()], np.uint8)])
    return arrays


def _alone(new: Mapping[bytes, tuple[int, int]], dataset: Dataset) -> dict[str, NDArray[np.generic]]:
    """Make a data set of labelled pictures and the classes that they have."""
    labels, numbers = np.unique([number for _, number in new.values()], return_inverse=True)
    if len(labels) < 2:
        remedy = "label pictures of another class too, or join them with the data set"
        raise DataError("the labels have one class", dataset.classes[labels[0]], remedy)
    names = np.array([dataset.classes[number] for number in labels])
    shape = dataset.shape if dataset.shape[2] > 1 else dataset.shape[:2]
    return {"x_train": _images(new, shape), "y_train": numbers.astype(np.uint8), "class_names": names}


def _images(contents: Mapping[bytes, object], shape: tuple[int, ...]) -> Image:
    return np.frombuffer(b"".join(contents), np.uint8).reshape(-1, *shape)
