"""A data set on the volume: four IDX files that were checked once, and are checked again by whoever opens them.

    data/<dataset>/<digest>/
        {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz
        dataset.json                    name, digest, shape, counts, class names, MD5 of the files, source

Pictures and arrays are made into such files too; images in colour have a fourth dimension, of 3. The digest is that of
the unpacked contents, and of class names where the source has them, so it does not depend on who packed them.
`python -m hyperflow.datasets` fetches Fashion-MNIST into the user's cache (docs/decisions/fashion-mnist-digests.md).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hyperflow import volume
from hyperflow.datasets import fashion_mnist, sources
from hyperflow.datasets.arrays import Shape, check_shape, shape_of
from hyperflow.datasets.files import FILES, Found
from hyperflow.datasets.idx import GZIP_MAGIC, Bytes, pack, parse_idx, read_idx, unpack
from hyperflow.errors import DataError, InvalidParameter
from hyperflow.specs import DataRef
from hyperflow.volume import paths

Split = Literal["train", "test"]

DESCRIPTION = "dataset.json"

_PREFIX: Mapping[Split, str] = {"train": "train", "test": "t10k"}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Dataset(DataRef):
    """A verified data set on the volume, and its contents."""

    def images(self, split: Split) -> Bytes:
        """Read the images of a split: [n, height, width], or [n, height, width, 3] in colour, of 0 to 255.

        Raises:
            DataError: The file is damaged.
        """
        images = _read(Path(self.path) / f"{_images(split)}.gz")
        return images if self.shape[2] > 1 else images.reshape(-1, *self.shape[:2])

    def labels(self, split: Split) -> Bytes:
        """Read the labels of a split: [n].

        Raises:
            DataError: The file is damaged.
        """
        return _read(Path(self.path) / f"{_labels(split)}.gz")


_kept: dict[Path, tuple[tuple[int, int], Bytes]] = {}


def keep(path: str) -> None:
    """Unpack the training set of a data set, once: this process, and all that are forked from it, share the memory.

    Raises:
        DataError: The folder is not a data set's, or a file in it is missing or damaged.
    """
    files = [Path(path) / f"{name}.gz" for name in (_images("train"), _labels("train"))]
    if any(_found(file) is None for file in files):
        open_dataset(path)
        _kept.update({file: (_state(file), read_idx(file)) for file in files})


def _read(file: Path) -> Bytes:
    found = _found(file)
    return read_idx(file) if found is None else found


def _found(file: Path) -> Bytes | None:
    with contextlib.suppress(OSError):
        state, content = _kept.get(file, (None, None))
        return content if state and _state(file) == state else None
    return None


def _state(file: Path) -> tuple[int, int]:
    about = file.stat()
    return about.st_mtime_ns, about.st_size


def load(source: str, dataset: str) -> Dataset:
    """Find a data set, check it, and put it on the volume unless it is there already.

    Args:
        source: `auto`; a folder, or any fsspec URL of one, with the four files or with pictures; an archive of
            pictures; or an .npz.
        dataset: The data set's name; `fashion-mnist` is checked against the published digests.

    Raises:
        InvalidParameter: The name cannot be one of a folder.
        DataError: The data set is missing, damaged or of another format.
        Unavailable: The volume cannot be written.
    """
    if not _NAME.fullmatch(dataset):
        raise InvalidParameter("dataset", dataset, "a name of at most 63 lower-case letters, digits and -")
    found = sources.find(source, dataset)
    if found.note:
        print(f"{found.place}: {found.note}", flush=True)
    description, files = _check(found, dataset)
    target = volume.data_path(dataset, str(description["digest"]))
    if not target.exists():
        with volume.staged(target) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return open_dataset(str(target))


def newest(dataset: str) -> Dataset | None:
    """Open the state of a data set that was put on the volume last, or return None where it has none.

    Raises:
        DataError: It is damaged.
    """
    stored = paths.dataset_states(dataset).glob(f"*/{DESCRIPTION}")
    last = max(stored, key=lambda path: path.stat().st_mtime, default=None)
    return open_dataset(str(last.parent)) if last else None


def of_digest(digest: str) -> Dataset | None:
    """Open the data set of a digest, whatever its name, or return None where the volume has none.

    Raises:
        DataError: It is damaged.
    """
    found = next(iter(paths.all_data().glob(f"*/{digest}/{DESCRIPTION}")), None) if digest else None
    return open_dataset(str(found.parent)) if found else None


def open_dataset(path: str) -> Dataset:
    """Open a data set that `load` wrote, and make sure that its files are still what they were.

    Raises:
        DataError: The folder is not a data set's, or a file in it is missing or damaged.
    """
    folder = Path(path)
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        dataset = _from_description(folder, description)
        digests = {f"{stem}.gz": str(description["md5"][f"{stem}.gz"]) for stem in FILES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{DESCRIPTION}: {type(error).__name__}: {error}"
        raise DataError(f"{folder} is not a data set's folder, or is damaged", why, _load_again(folder)) from error
    for name, digest in digests.items():
        _check_stored(folder / name, digest)
    return dataset


def _from_description(folder: Path, description: Mapping[str, Any]) -> Dataset:
    return Dataset(
        name=str(description["name"]),
        path=str(folder),
        digest=str(description["digest"]),
        train_count=int(description["counts"]["train"]),
        test_count=int(description["counts"]["test"]),
        classes=tuple(str(name) for name in description["classes"]),
        shape=_shape(description.get("shape", DataRef.shape)),
    )


def _shape(sides: Sequence[int]) -> Shape:
    height, width, channels = map(int, sides)
    return height, width, channels


def _check_stored(path: Path, expected: str) -> None:
    try:
        digest = _md5(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read", str(error), _load_again(path.parent)) from error
    if digest != expected:
        raise DataError(f"{path} is damaged", f"its MD5 is {digest}, not {expected}", _load_again(path.parent))


def _load_again(folder: Path) -> str:
    return f"remove {folder} and load the data set again"


def _check(found: Found, dataset: str) -> tuple[dict[str, object], dict[str, bytes]]:
    """Check what was found; return its description and the files as they shall be stored."""
    if dataset == fashion_mnist.NAME and found.classes:
        why = f"{dataset} is what was published under this name"
        raise DataError(f"{found.place} is not Fashion-MNIST", why, "give the data set another name")
    contents, files = {}, {}
    for stem, (name, content) in zip(FILES, found.files.items(), strict=True):
        where = f"{found.place}/{name}"
        if dataset == fashion_mnist.NAME:
            fashion_mnist.check(stem, content, where)
            content = fashion_mnist.canonical(stem, content)
        _check_listed(found, name, content)
        contents[stem] = unpack(content, where)
        files[f"{stem}.gz"] = content if content.startswith(GZIP_MAGIC) else pack(content)
    arrays = {stem: parse_idx(content, f"{found.place}/{stem}") for stem, content in contents.items()}
    description: dict[str, object] = {
        "name": dataset,
        "digest": _digest(contents.values(), found.classes),
        "shape": _check_shape(arrays, found.place),
        "counts": {split: _check_split(arrays, split, found.place, dataset) for split in _PREFIX},
        "classes": _check_classes(arrays, found, dataset),
        "md5": {name: _md5(content) for name, content in files.items()},
        "source": found.place,
    }
    return description, files


def _check_listed(found: Found, name: str, content: bytes) -> None:
    """Compare a file with the lists of checksums beside it."""
    for list_name, text in found.checksums.items():
        algorithm = list_name.removesuffix("SUMS").lower()
        for line in text.decode("utf-8", "replace").splitlines():
            expected, _, listed = line.partition(" ")
            if listed.strip().lstrip("*./") != name:
                continue
            digest = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
            if digest != expected.lower():
                why = f"its {algorithm.upper()} is {digest}, {list_name} has {expected}"
                raise DataError(f"{found.place}/{name} is damaged", why, "get the file again")


def _digest(contents: Iterable[bytes], classes: Sequence[str]) -> str:
    names = "\0".join(classes).encode()
    return hashlib.sha256(b"".join([*contents, names])).hexdigest()[:16]


def _check_shape(arrays: Mapping[str, Bytes], place: str) -> Shape:
    train, test = (arrays[_images(split)] for split in _PREFIX)
    for split, images in zip(_PREFIX, (train, test), strict=True):
        check_shape(f"{place}/{_images(split)}", images.shape[1:])
    if shape_of(train) != shape_of(test):
        why = f"those of train are {list(train.shape[1:])}, those of test {list(test.shape[1:])}"
        raise DataError(f"{place}: train and test have images of different shapes", why, "give images of one shape")
    return shape_of(train)


def _check_split(arrays: Mapping[str, Bytes], split: Split, place: str, dataset: str) -> int:
    images, labels = arrays[_images(split)], arrays[_labels(split)]
    if labels.ndim != 1 or len(labels) != len(images):
        why = f"{len(images)} images and labels of dimensions {list(labels.shape)}"
        raise DataError(f"{place}: images and labels of {split} do not match", why, "give files that belong together")
    expected = fashion_mnist.COUNTS[split] if dataset == fashion_mnist.NAME else len(images)
    if not len(images) or len(images) != expected:
        why = f"{len(images)} images, not {expected or 'one at least'}"
        raise DataError(f"{place}: {split} has a wrong number of images", why, "get the files again")
    return len(images)


def _check_classes(arrays: Mapping[str, Bytes], found: Found, dataset: str) -> list[str]:
    place = found.place
    known = np.unique(arrays[_labels("train")])
    count = int(known[-1]) + 1
    if len(known) != count or count < 2:
        why = f"the labels of train are {known.tolist()}, not 0 to K-1 with at least two classes"
        raise DataError(f"{place}: labels are not contiguous", why, "number the classes from 0")
    if (strange := int(arrays[_labels("test")].max())) >= count:
        raise DataError(f"{place}: test has a class that train has not", f"label {strange}", "give files that match")
    if found.classes and len(found.classes) != count:
        why = f"{len(found.classes)} names, labels from 0 to {count - 1}"
        raise DataError(f"{place}: the class names do not match the labels", why, "give one name for each class")
    if dataset != fashion_mnist.NAME:
        return list(found.classes) or [str(label) for label in range(count)]
    if count != len(fashion_mnist.CLASSES):
        raise DataError(f"{place}: wrong number of classes", f"{count}, not 10", "get the files again")
    return list(fashion_mnist.CLASSES)


def _images(split: Split) -> str:
    return f"{_PREFIX[split]}-images-idx3-ubyte"


def _labels(split: Split) -> str:
    return f"{_PREFIX[split]}-labels-idx1-ubyte"


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
