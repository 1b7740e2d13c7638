"""Which data set a run works with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataRef:
    """A verified data set on the volume.

    Args:
        name: Its name.
        path: Its folder.
        digest: First 16 hexadecimal digits of the SHA-256 of its unpacked contents.
        train_count: Images to learn from.
        test_count: Images to test with.
        classes: Class names; a label is an index into them.
        image_shape: Rows and columns of an image.
    """

    name: str
    path: str
    digest: str
    train_count: int
    test_count: int
    classes: tuple[str, ...]
    image_shape: tuple[int, int] = (28, 28)
