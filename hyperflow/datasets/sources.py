"""Where a data set comes from: a folder, an archive, an .npz, a URL, the cache, the system's package or its publisher.

What is read here is not trusted yet: sizes and times are bounded, the content is judged in `hyperflow.datasets`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hyperflow import pod, volume
from hyperflow.datasets import fashion_mnist, own
from hyperflow.datasets.arrays import check_names
from hyperflow.datasets.files import FILES, Found, read_file
from hyperflow.datasets.places import open_place, read_errors
from hyperflow.errors import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ENVIRONMENT = "HYPERFLOW_DATA_SOURCE"
AUTO = "auto"
CHECKSUMS = ("SHA256SUMS", "MD5SUMS")
CLASSES = "classes.txt"
"""Names of the classes, one a line, the first for label 0; it may lie beside the four files."""

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian and Ubuntu package `dataset-fashion-mnist` has its files."""

OFFICIAL_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"


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
    """Read the four files from the first place that has them, or make them of what the one place named has.

    Raises:
        DataError: No place has them all, and the message lists every place and what it lacked; or what the place named
            has cannot be made into a data set.
    """
    tried, remedies = [], []
    to_try = places(source, dataset)
    if len(to_try) == 1 and (made := own.read(to_try[0])):
        return made
    for place in to_try:
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
    remedy = f"give a folder or URL with {files}, or of pictures, in data_source or {ENVIRONMENT}"
    if dataset == fashion_mnist.NAME:
        remedy = f"run `make data`, or `apt-get install dataset-fashion-mnist`, or {remedy}"
    return remedy


def read_folder(place: str) -> Found:
    """Read the four files, lists of checksums and names of classes, from a folder or any fsspec URL of one.

    Raises:
        DataError: A file is missing, cannot be read, or is larger than `MAX_FILE_BYTES`; or a name cannot be one.
    """
    system, folder = open_place(place)
    files: dict[str, bytes] = {}
    for stem in FILES:
        name, content = _first(system, folder, (f"{stem}.gz", stem), place)
        if content is None:
            raise DataError(f"{place} has no {stem}.gz", "neither packed nor unpacked")
        files[name] = content
    sums = {name: content for name in CHECKSUMS if (content := _first(system, folder, (name,), place)[1]) is not None}
    return Found(place, files, sums, _classes(_first(system, folder, (CLASSES,), place)[1] or b"", place))


def _classes(content: bytes, place: str) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in content.decode("utf-8").rstrip().splitlines())
    except UnicodeDecodeError as error:
        raise DataError(f"{place}/{CLASSES} is no text", str(error), "save it as UTF-8, one name a line") from error
    check_names(f"{place}/{CLASSES}", names)
    return names


def _first(
    system: AbstractFileSystem, folder: str, names: tuple[str, ...], place: str
) -> tuple[str, bytes] | tuple[str, None]:
    for name in names:
        try:
            return name, read_file(system, f"{folder}/{name}")
        except (FileNotFoundError, NotADirectoryError) as error:
            if unreachable := _unreachable(error):
                remedy = "correct the address, or see that this machine reaches it"
                raise DataError(f"{place} cannot be reached", unreachable, remedy) from error
        except read_errors(place) as error:
            raise DataError(f"{place}/{name} cannot be read", f"{type(error).__name__}: {error}") from error
    return names[-1], None


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
