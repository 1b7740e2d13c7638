"""Pictures in a folder for each class: `train/<class>/<picture>` and `test/<class>/<picture>`, or `<class>/<picture>`.

Those read come from outside: a picture's size is judged before a single pixel is unpacked.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hyperflow.datasets.arrays import Part, check_names, check_shape, to_found
from hyperflow.datasets.files import Found
from hyperflow.datasets.idx import MAX_BYTES, Bytes
from hyperflow.errors import DataError, Unavailable

if TYPE_CHECKING:
    from PIL import Image

Files = Mapping[str, Callable[[], bytes]]
"""What reads each file, by its path in the folder."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

_FORMATS = ("PNG", "JPEG", "WEBP")
_LAYOUT = "put the pictures at train/<class>/ and test/<class>/, or at <class>/ alone"
_NOT_MEANT = ("__MACOSX", "Thumbs.db", "desktop.ini")
_GREY = ("1", "L", "LA")

_Classes = dict[str, list[str]]


def read(place: str, files: Files) -> Found:
    """Make a data set of pictures; a class is called as its folder is.

    Raises:
        DataError: The folders are laid out otherwise, or a picture is broken, too large, or of another size than the
            others; it is named.
        Unavailable: Pillow is not installed.
    """
    parts = _parts(place, [path for path in sorted(files) if _is_meant(path)])
    classes = sorted(parts["train"])
    check_names(place, classes)
    if strange := sorted(set(parts.get("test", {})) - set(classes)):
        raise DataError(f"{place}: test has a class that train has not", strange[0], "give folders that match")
    ordered = {split: [path for name in classes for path in part.get(name, [])] for split, part in parts.items()}
    images = _decode_all(place, files, [path for paths in ordered.values() for path in paths])
    made: dict[str, Part] = {}
    for split, paths in ordered.items():
        count = [len(parts[split].get(name, [])) for name in classes]
        made[split] = Part(images[: len(paths)], np.repeat(np.arange(len(classes), dtype=np.uint8), count))
        images = images[len(paths) :]
    return to_found(place, made["train"], made.get("test"), classes)


def encode(image: Bytes) -> bytes:
    """Return an image, uint8 [height, width] or [height, width, 3], as a PNG.

    Raises:
        Unavailable: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise Unavailable("pictures cannot be written", str(error), "pip install pillow") from error
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _is_meant(path: str) -> bool:
    return not any(part.startswith(".") or part in _NOT_MEANT for part in path.split("/"))


def _parts(place: str, paths: Sequence[str]) -> dict[str, _Classes]:
    """Return the paths by split and class; there is no `test` where the folders have none."""
    depth = _wrappers(paths)
    tops = {path.split("/")[depth] for path in paths if path.count("/") > depth}
    split_first = bool(tops & {"train", "test"})
    parts: dict[str, _Classes] = {"train": {}}
    for path in paths:
        *folders, _ = path.split("/")[depth:]
        where = folders if split_first else ["train", *folders]
        if len(where) < 2:
            _refuse_picture(f"{place}/{path}")  # such a file may be a README
        elif len(where) > 2 or where[0] not in ("train", "test"):
            raise DataError(f"{place}/{path} is in no folder of a class", remedy=_LAYOUT)
        elif not path.lower().endswith(SUFFIXES):
            remedy = f"make it a picture ({', '.join(SUFFIXES)}), or take it out"
            raise DataError(f"{place}/{path} is not a kind of picture that is read", remedy=remedy)
        else:
            parts.setdefault(where[0], {}).setdefault(where[1], []).append(path)
    if not parts["train"]:
        raise DataError(f"{place} has no pictures to learn from", f"in it are {_some(tops)}", _LAYOUT)
    return parts


def _wrappers(paths: Sequence[str]) -> int:
    """Count the folders that all others lie in, as archives of a whole folder have one."""
    depth = 0
    while len(tops := {path.split("/")[depth] for path in paths}) == 1 and not tops & {"train", "test"}:
        if not all(path.count("/") > depth for path in paths):
            break
        depth += 1
    return depth


def _refuse_picture(path: str) -> None:
    if path.lower().endswith(SUFFIXES):
        raise DataError(f"{path} is in no folder of a class", remedy=_LAYOUT)


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:5]) or "no folders with files"


def _decode_all(place: str, files: Files, paths: Sequence[str]) -> Bytes:
    """Decode pictures into one array; where one has colours, all get three channels."""
    images: list[Bytes] = []
    size = 0
    for path in paths:
        image = _decode(files[path](), f"{place}/{path}")
        if images and image.shape[:2] != images[0].shape[:2]:
            first = f"{place}/{paths[0]}"
            why = f"it has {_words(image)} pixels, {first} has {_words(images[0])} (width × height)"
            remedy = "bring all pictures to one size first: `mogrify -resize 64x64! */*/*.png` of ImageMagick does"
            raise DataError(f"{place}/{path} has another size than the other pictures", why, remedy)
        size += image.size
        if size > MAX_BYTES:
            why = f"up to {path} they have {size} numbers, more than {MAX_BYTES}"
            raise DataError(f"{place}: the pictures are too many", why, "give fewer or smaller ones")
        images.append(image)
    if len({image.ndim for image in images}) > 1:
        images = [image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2) for image in images]
    return np.stack(images)


def _words(image: Bytes) -> str:
    return f"{image.shape[1]} × {image.shape[0]}"


def _decode(content: bytes, name: str) -> Bytes:
    """Return a picture as uint8 [height, width] or, with colours, [height, width, 3]; what is transparent is white."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise Unavailable("pictures cannot be read", str(error), "pip install pillow") from error
    try:
        with warnings.catch_warnings(action="ignore"):
            picture = Image.open(io.BytesIO(content), formats=_FORMATS)
            channels = () if picture.mode in _GREY else (3,)
            check_shape(name, (picture.height, picture.width, *channels))
            picture.load()
            return _pixels(ImageOps.exif_transpose(picture), name)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        remedy = "get the picture again, or take it out"
        raise DataError(f"{name} is broken, or no picture", f"{type(error).__name__}: {error}", remedy) from error


def _pixels(picture: Image.Image, name: str) -> Bytes:
    from PIL import Image

    if picture.mode[0] in "IF":
        raise DataError(f"{name} has more than 8 bits a channel", picture.mode, "save it with 8 bits a channel")
    grey = picture.mode in _GREY
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(picture.convert("L" if grey else "RGB"))
