"""Which data set a run works with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataRef:
    """A verified data set on the volume.

    Args:
        name: Its name.
        path: Its folder.
        digest: First 16 hexadecimal digits of the SHA-256 of its unpacked contents, and of the class names that its
            source has.
        train_count: Images to learn from.
        test_count: Images to test with.
        classes: Class names; a label is an index into them.
        shape: Height, width and channels of an image; 1 channel is grey, 3 are red, green and blue.
    """

    name: str
    path: str
    digest: str
    train_count: int
    test_count: int
    classes: tuple[str, ...]
    shape: tuple[int, int, int] = (28, 28, 1)
