"""A data set's files as they are found: read within bounds of size and time, and again where a fault may pass."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import tenacity

from hyperflow.datasets import fashion_mnist
from hyperflow.datasets.places import FILE_SECONDS
from hyperflow.errors import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

FILES = tuple(fashion_mnist.MD5)
"""The four IDX files, in the order in which a data set's digest takes them."""

MAX_FILE_BYTES = 256 << 20
ATTEMPTS = 3

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Found:
    """A data set's files as they were found, or as they were made of pictures or arrays.

    Args:
        place: Where.
        files: Content by file name, packed or not, in the order of `FILES`.
        checksums: Content of the lists of checksums beside them, by file name.
        classes: Class names, where the source has any; a label is an index into them.
        note: What was done to it, in a sentence; empty where nothing was.
    """

    place: str
    files: Mapping[str, bytes]
    checksums: Mapping[str, bytes]
    classes: tuple[str, ...] = ()
    note: str = ""


def read_file(system: AbstractFileSystem, path: str, most: int = 0) -> bytes:
    """Read one file, trying again where the fault may pass.

    Args:
        system: The file system that has it.
        path: Where it is there.
        most: Most bytes; `MAX_FILE_BYTES` if none are given.

    Raises:
        DataError: It is larger, or takes too long.
        Exception: What the file system raises, see `places.read_errors`.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_pass),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(multiplier=0.5, max=4, jitter=0.5),
        reraise=True,
    )
    return retrying(_read_once, system, path, most or MAX_FILE_BYTES)


def _read_once(system: AbstractFileSystem, path: str, most: int) -> bytes:
    with system.open(path, "rb") as file:
        return b"".join(_chunks(file, path, most))


def _chunks(file: BinaryIO, path: str, most: int) -> Iterator[bytes]:
    deadline, size = time.monotonic() + FILE_SECONDS, 0
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        if size > most:
            raise DataError(f"{path} is too large", f"it has more than {most} bytes")
        if time.monotonic() > deadline:
            raise DataError(f"{path} cannot be read", f"it took more than {FILE_SECONDS} seconds")
        yield chunk


def _may_pass(error: BaseException) -> bool:
    """Tell a network's fault from a disk's or a wrong path."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError, DataError)):
        return False
    status = getattr(error, "status", None)
    return status is None or status in (408, 425, 429) or status >= 500
