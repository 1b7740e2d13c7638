"""Fashion-MNIST as it was published: file digests, counts, class names."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from types import MappingProxyType

from hyperflow.errors import DataError

NAME = "fashion-mnist"

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

COUNTS: Mapping[str, int] = MappingProxyType({"train": 60_000, "test": 10_000})

MD5: Mapping[str, str] = MappingProxyType(
    {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    }
)
"""Digests of the published `.gz` files."""

_TIME = {"train": 1504176606, "t10k": 1504176627}
_BARE_HEADER = b"\x1f\x8b\x08\x00"
_NAMED_HEADER = b"\x1f\x8b\x08\x08"
_BARE_HEADER_SIZE = 10
_EXTRA_FLAGS, _UNIX = 0, 3


def canonical(stem: str, content: bytes) -> bytes:
    """Put back the file name and time stamp of a published file where its gzip header was stripped of them."""
    if not content.startswith(_BARE_HEADER):
        return content
    time_stamp = struct.pack("<I", _TIME[stem.split("-")[0]])
    header = _NAMED_HEADER + time_stamp + bytes((_EXTRA_FLAGS, _UNIX)) + stem.encode("ascii") + b"\0"
    return header + content[_BARE_HEADER_SIZE:]


def check(stem: str, content: bytes, where: str) -> None:
    """Refuse a file that is not the published one.

    Raises:
        DataError: The digest is another.
    """
    digest = hashlib.md5(canonical(stem, content), usedforsecurity=False).hexdigest()
    if digest != MD5[stem]:
        raise DataError(
            f"{where} is not Fashion-MNIST's {stem}.gz",
            f"its MD5 is {digest}, the published one is {MD5[stem]}",
            "get the published .gz file again; for another data set give it another name than fashion-mnist",
        )
