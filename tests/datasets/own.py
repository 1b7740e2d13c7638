"""Small data of one's own: pictures of coloured shapes, in folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 210), "white": (235,) * 3, "black": (20,) * 3}


def picture(colour: tuple[int, int, int], size: tuple[int, int], random: np.random.Generator) -> Image.Image:
    """Draw a disc of a colour somewhere on a noisy ground."""
    width, height = size
    ground = random.integers(90, 140, (height, width, 3), dtype=np.uint8)
    drawn = Image.fromarray(ground)
    radius = int(random.integers(min(size) // 4, min(size) // 2))
    x, y = int(random.integers(radius, width - radius + 1)), int(random.integers(radius, height - radius + 1))
    ImageDraw.Draw(drawn).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return drawn


def folder_of_pictures(root: Path, train: int = 6, test: int = 2, size: tuple[int, int] = (32, 32)) -> Path:
    """Make `train/<class>/<n>.png` and `test/<class>/<n>.jpg` of five classes."""
    random = np.random.default_rng(5)
    for split, count, suffix in (("train", train, "png"), ("test", test, "jpg")):
        for name, colour in COLOURS.items():
            folder = root / split / name
            if count:
                folder.mkdir(parents=True)
            for number in range(count):
                picture(colour, size, random).save(folder / f"{number:03}.{suffix}")
    return root
