"""NumPy's .npz: x_train, y_train and, if there are any, x_test, y_test and class_names.

It comes from outside: nothing in it is unpickled, and an array is read only if its header agrees with its size.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperflow.datasets.arrays import MAX_CLASSES, Part, check_shape, to_found
from hyperflow.datasets.files import Found
from hyperflow.datasets.idx import MAX_BYTES, Bytes
from hyperflow.errors import DataError

_NAMES = ("x_train", "y_train", "x_test", "y_test", "class_names")
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_REMEDY = (
    "save it with numpy.savez(file, x_train=…, y_train=…, x_test=…, y_test=…, class_names=…): images as uint8 of 0 to "
    "255, [n, height, width] or [n, height, width, 3]; labels as whole numbers from 0; names as an array of texts"
)


def read(place: str, content: bytes) -> Found:
    """Make a data set of a file's content; `place` is for messages.

    Raises:
        DataError: It is damaged, or its arrays are not those of a data set.
    """
    arrays = _arrays(place, content)
    missing = [name for name in _NAMES[:2] if name not in arrays]
    if missing or ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{place} lacks arrays", f"it has {', '.join(arrays) or 'none'}", _REMEDY)
    train = _part(place, arrays, "train")
    test = _part(place, arrays, "test") if "x_test" in arrays else None
    return to_found(place, train, test, _classes(place, arrays.get("class_names")))


def _arrays(place: str, content: bytes) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            return {name: _array(archive, entries[name], place) for name in _NAMES if name in entries}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{place} is damaged, or no .npz", str(error), _REMEDY) from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: str) -> npt.NDArray[Any]:
    if entry.file_size > MAX_BYTES:
        why = f"{entry.filename} has {entry.file_size} bytes, more than {MAX_BYTES}"
        raise DataError(f"{place} is too large", why, "give fewer or smaller images")
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"{entry.filename} has a header of version {version}")
        shape, _, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise ValueError(f"{entry.filename} holds Python objects, which are not read")
        if math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
            raise ValueError(f"{entry.filename} has another size than its header says")
    with archive.open(entry) as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _part(place: str, arrays: dict[str, npt.NDArray[Any]], split: str) -> Part:
    images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    if images.dtype != np.uint8:
        why = f"x_{split} is of type {images.dtype}"
        raise DataError(f"{place} has images of another type", why, "give uint8: (x * 255).astype('uint8') of 0 to 1")
    check_shape(f"{place}: x_{split}", images.shape[1:])
    if labels.ndim == 2 and labels.shape[1] == 1:  # as in CIFAR-10
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images) or not len(labels):
        why = f"y_{split} is {labels.dtype} {list(labels.shape)}, for {len(images)} images"
        raise DataError(f"{place}: images and labels of {split} do not match", why, _REMEDY)
    if labels.min() < 0 or labels.max() >= MAX_CLASSES:
        why = f"y_{split} goes from {labels.min()} to {labels.max()}"
        raise DataError(f"{place} has labels that are none", why, f"number the classes from 0 to {MAX_CLASSES - 1}")
    return Part(_without_one_channel(images), labels.astype(np.uint8))


def _without_one_channel(images: Bytes) -> Bytes:
    return images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images


def _classes(place: str, names: npt.NDArray[Any] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"{place}: class_names are no texts", f"they are {names.dtype} {list(names.shape)}", _REMEDY)
    return tuple(str(name) for name in names)
