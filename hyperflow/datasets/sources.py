"""Where a data set's four files come from: a folder, a URL, the cache, the system's package or its publisher.

What is read here is not trusted yet: sizes and times are bounded, the content is judged in `hyperflow.datasets`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import tenacity

from hyperflow import pod, volume
from hyperflow.datasets import fashion_mnist
from hyperflow.datasets.places import FILE_SECONDS, open_place, read_errors
from hyperflow.errors import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ENVIRONMENT = "HYPERFLOW_DATA_SOURCE"
AUTO = "auto"
FILES = tuple(fashion_mnist.MD5)
CHECKSUMS = ("SHA256SUMS", "MD5SUMS")

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian and Ubuntu package `dataset-fashion-mnist` has its files."""

OFFICIAL_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

MAX_FILE_BYTES = 256 << 20
ATTEMPTS = 3

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Found:
    """A data set's files as they were found.

    Args:
        place: Where.
        files: Content by file name, packed or not, in the order of `FILES`.
        checksums: Content of the lists of checksums beside them, by file name.
    """

    place: str
    files: Mapping[str, bytes]
    checksums: Mapping[str, bytes]


def cache_folder(dataset: str) -> Path:
    """Return the user's cache folder for a data set."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hyperflow" / "datasets" / dataset


def places(source: str, dataset: str) -> list[str]:
    """List where to look, best first: one place if the user named it, else the usual ones."""
    if source != AUTO:
        return [source]
    if named := os.environ.get(ENVIRONMENT):
        return [named]
    usual = [str(cache_folder(dataset))]
    return [*usual, str(SYSTEM_FOLDER), OFFICIAL_URL] if dataset == fashion_mnist.NAME else usual


def find(source: str, dataset: str) -> Found:
    """Read the four files from the first place that has them.

    Raises:
        DataError: No place has them all; the message lists every place and what it lacked.
    """
    tried, remedies = [], []
    for place in places(source, dataset):
        try:
            return read_folder(place)
        except DataError as error:
            tried.append(f"{error.what}: {error.why}" if error.why else error.what)
            remedies += [error.remedy] if error.remedy else []
    remedy = "\n".join([*remedies, _remedy(dataset)])
    raise DataError(f"the data set {dataset!r} is nowhere to be found", "\n".join(tried), remedy)


def _remedy(dataset: str) -> str:
    files = f"{', '.join(FILES)} (.gz or not)"
    if pod.is_inside():
        folder = volume.root() / "sources" / dataset
        return (
            f"give data_source a URL that the cluster reaches, of a folder with {files}; or put these files on the "
            f"claim, from a notebook for example, and give the folder as pods see it, as in {folder}"
        )
    remedy = f"give a folder or URL with {files}, in data_source or {ENVIRONMENT}"
    if dataset == fashion_mnist.NAME:
        remedy = f"run `make data`, or `apt-get install dataset-fashion-mnist`, or {remedy}"
    return remedy


def read_folder(place: str) -> Found:
    """Read the four files, and lists of checksums, from a folder or any fsspec URL of one.

    Raises:
        DataError: A file is missing, cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    system, folder = open_place(place)
    files: dict[str, bytes] = {}
    for stem in FILES:
        name, content = _first(system, folder, (f"{stem}.gz", stem), place)
        if content is None:
            raise DataError(f"{place} has no {stem}.gz", "neither packed nor unpacked")
        files[name] = content
    sums = {name: content for name in CHECKSUMS if (content := _first(system, folder, (name,), place)[1]) is not None}
    return Found(place, files, sums)


def _first(
    system: AbstractFileSystem, folder: str, names: tuple[str, ...], place: str
) -> tuple[str, bytes] | tuple[str, None]:
    for name in names:
        try:
            return name, _read(system, f"{folder}/{name}")
        except (FileNotFoundError, NotADirectoryError) as error:
            if unreachable := _unreachable(error):
                remedy = "correct the address, or see that this machine reaches it"
                raise DataError(f"{place} cannot be reached", unreachable, remedy) from error
        except read_errors(place) as error:
            raise DataError(f"{place}/{name} cannot be read", f"{type(error).__name__}: {error}") from error
    return names[-1], None


def _read(system: AbstractFileSystem, path: str) -> bytes:
    """Read one file, trying again where the fault may pass."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_may_pass),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(multiplier=0.5, max=4, jitter=0.5),
        reraise=True,
    )
    return retrying(_read_once, system, path)


def _read_once(system: AbstractFileSystem, path: str) -> bytes:
    with system.open(path, "rb") as file:
        return b"".join(_chunks(file, path))


def _chunks(file: BinaryIO, path: str) -> Iterator[bytes]:
    deadline, size = time.monotonic() + FILE_SECONDS, 0
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        if size > MAX_FILE_BYTES:
            raise DataError(f"{path} is too large", f"more than {MAX_FILE_BYTES} bytes were sent")
        if time.monotonic() > deadline:
            raise DataError(f"{path} cannot be read", f"it took more than {FILE_SECONDS} seconds")
        yield chunk


def _unreachable(error: OSError) -> str:
    """Say why a server was never asked; fsspec calls that, too, a file that is not found."""
    cause = error.__cause__ or error.__context__
    if cause is None or getattr(cause, "status", None) is not None or not _is_of_the_network(cause):
        return ""
    return str(cause)


def _is_of_the_network(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in ("aiohttp", "asyncio", "socket") or isinstance(
        error, (ConnectionError, TimeoutError)
    )


def _may_pass(error: BaseException) -> bool:
    """Tell a network's fault from a disk's or a wrong path."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError, DataError)):
        return False
    status = getattr(error, "status", None)
    return status is None or status in (408, 425, 429) or status >= 500
