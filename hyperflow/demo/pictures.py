"""Turns a visitor's picture into what the model saw in training.

Most data sets have pictures as they were taken: as much of the picture's middle as has the proportions of the model's
pictures is brought to their size. Fashion-MNIST has 28×28 grey pixels, light on black, filling the frame. It was made
from photographs on a plain ground: cropped to the garment, shrunk until the longer side had 28 pixels, centred,
negated. The same is done here, so that the model meets what it knows. What is sent is hostile until it has passed
`read`.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hyperflow.errors import DataError

Pixels = npt.NDArray[np.uint8]
Ink = npt.NDArray[np.float64]


FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 2 << 20
MAX_PIXELS = 4 << 20
_PREFIX = "base64,"
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_ENOUGH = (560, 560)
_CONTENT = 0.05 * 255
"""How far from the background a pixel has to be to count as content; the makers of Fashion-MNIST took the same."""


@dataclass(frozen=True)
class Form:
    """What pictures a model takes.

    Args:
        shape: Height and width in pixels; and 3 where they have colours.
        light_on_black: Whether they are grey things on black that fill the frame, as Fashion-MNIST's are.
    """

    shape: tuple[int, ...] = (28, 28)
    light_on_black: bool = True

    @property
    def has_colours(self) -> bool:
        """Whether there are colours."""
        return len(self.shape) > 2


def from_data_url(url: object) -> Image.Image:
    """Read the picture in a `data:` URL.

    Raises:
        DataError: It is none, it is too large, or it cannot be decoded.
    """
    if not isinstance(url, str) or not url.startswith("data:image/") or _PREFIX not in url[:64]:
        raise _refused("it did not arrive as a picture")
    text = url.partition(_PREFIX)[2]
    if len(text) > MAX_BYTES * 4 // 3 + 4:
        raise _refused(f"it has more than {MAX_BYTES >> 20} MB")
    try:
        return read(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise _refused("it arrived damaged") from error


def read(content: bytes) -> Image.Image:
    """Decode a picture; its dimensions are judged before a single pixel is unpacked.

    Raises:
        DataError: It is too large, or no picture of the formats taken.
    """
    if len(content) > MAX_BYTES:
        raise _refused(f"it has more than {MAX_BYTES >> 20} MB")
    try:
        with warnings.catch_warnings(action="ignore"):
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
            if picture.width * picture.height > MAX_PIXELS:
                raise _refused(f"it has {picture.width} × {picture.height} pixels")
            picture.load()
            return ImageOps.exif_transpose(picture)
    except _DECODER_ERRORS as error:
        raise _refused("it cannot be decoded") from error


def to_input(picture: Image.Image, form: Form = Form()) -> Pixels:
    """Make the model's input of a picture; one that has its form already stays as it is.

    Raises:
        DataError: There is nothing in it but background, where that is what is taken away.
    """
    return _ink_of(picture, form.shape) if form.light_on_black else _middle_of(picture, form)


def _middle_of(picture: Image.Image, form: Form) -> Pixels:
    height, width = form.shape[:2]
    if not form.has_colours and picture.mode.startswith("I"):
        picture = Image.fromarray(_grey(picture).round().astype(np.uint8))
    layer = picture.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    flat = Image.alpha_composite(paper, layer).convert("RGB" if form.has_colours else "L")
    return np.asarray(ImageOps.fit(flat, (width, height), Image.Resampling.LANCZOS))


def _ink_of(picture: Image.Image, shape: tuple[int, ...]) -> Pixels:
    grey = _grey(picture)
    background = _background(grey)
    if grey.shape == shape and background < _CONTENT:
        return grey.round().astype(np.uint8)
    ink = _crop(_ink(grey, background))
    rows, columns = shape
    shrink = max(ink.shape[0] / rows, ink.shape[1] / columns)
    height, width = (max(1, round(side / shrink)) for side in ink.shape)
    small = Image.fromarray(ink.astype(np.float32)).resize((width, height), Image.Resampling.LANCZOS)
    top, left = (rows - height) // 2, (columns - width) // 2
    pixels = np.zeros(shape, np.uint8)
    pixels[top : top + height, left : left + width] = np.asarray(small).round().clip(0, 255)
    return pixels


def exact(picture: Image.Image, form: Form = Form()) -> Pixels:
    """Read a picture that is a model's input already, as this page has shown it.

    Raises:
        DataError: It is of another size.
    """
    if picture.size != form.shape[1::-1]:
        raise _refused("it is not one that the model got")
    return np.asarray(picture.convert("RGB" if form.has_colours else "L"))


def heat(pixels: Pixels, falls: Ink) -> Pixels:
    """Colour a picture by what its answer rests on: red speaks for it, blue against it.

    Args:
        pixels: uint8 [rows, columns], or [rows, columns, 3].
        falls: How far the answer's score falls without each of these numbers.

    Returns:
        uint8 [rows, columns, 3].
    """
    falls = falls.reshape(*pixels.shape[:2], -1).mean(axis=2, keepdims=True)
    share = falls / max(float(np.abs(falls).max()), 1e-12)
    colour = np.where(share > 0, (239.0, 68.0, 68.0), (59.0, 130.0, 246.0))
    strength = 0.75 * np.abs(share)
    shown = pixels.reshape(*pixels.shape[:2], -1)
    return (shown * (1 - strength) + colour * strength).round().astype(np.uint8)


def to_data_url(pixels: Pixels) -> str:
    """Write grey or coloured pixels as a PNG in a `data:` URL."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return f"data:image/png;{_PREFIX}{base64.b64encode(buffer.getvalue()).decode()}"


def _grey(picture: Image.Image) -> Ink:
    """Return luminance from 0 to 255; what is transparent is white, as paper is."""
    if picture.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
        return np.asarray(picture, np.float64).clip(0, 65535) / 257
    layer = picture.convert("RGBA")
    layer.thumbnail(_ENOUGH)
    paper = Image.new("RGBA", layer.size, "white")
    return np.asarray(Image.alpha_composite(paper, layer).convert("L"), np.float64)


def _background(grey: Ink) -> float:
    """Return the level along the picture's edge."""
    return float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))


def _ink(grey: Ink, background: float) -> Ink:
    """Measure how far each pixel stands out of the background, from 0 to 255; a light background is inverted."""
    if background > 127:
        return (background - grey).clip(0) * (255 / background)
    return (grey - background).clip(0) * (255 / (255 - background))


def _crop(ink: Ink) -> Ink:
    content = ink > _CONTENT
    rows, columns = np.flatnonzero(content.any(axis=1)), np.flatnonzero(content.any(axis=0))
    if not len(rows):
        what = "there is nothing in the picture but its background"
        raise DataError(what, remedy="draw or show something that is clearly darker or lighter")
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _refused(why: str) -> DataError:
    remedy = f"send a PNG, JPEG or WebP picture of at most {MAX_BYTES >> 20} MB and {MAX_PIXELS >> 20} megapixels"
    return DataError("the picture cannot be used", why, remedy)
