"""Data of one's own that is not IDX: a folder or an archive of pictures, or an .npz, made into the four IDX files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hyperflow.datasets import archives, npz, pictures
from hyperflow.datasets.files import FILES, Found, read_file
from hyperflow.datasets.idx import MAX_BYTES
from hyperflow.datasets.places import open_place, read_errors
from hyperflow.errors import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ARRAYS = ".npz"

_DEEPEST = 5  # a folder around, train, class, picture, and one more to be refused


def read(place: str) -> Found | None:
    """Make a data set of what a place has; None where that is a folder without folders, as one of IDX files is.

    Raises:
        DataError: What it has cannot be read, or cannot be made into a data set.
        Unavailable: Pillow, which reads pictures, is not installed.
    """
    name = "" if "::" in place else urlsplit(place).path.lower()
    if name.endswith(ARRAYS):
        return npz.read(place, _content(place))
    if name.endswith(archives.SUFFIXES):
        return pictures.read(place, archives.files(place, _content(place)))
    if place.startswith(("http://", "https://")):  # a web server has no list of files that could be relied on
        return None
    system, folder = open_place(place)
    if not _has_folders_alone(system, folder, place):
        return None
    return pictures.read(place, dict(_listed(system, folder, place)))


def _content(place: str) -> bytes:
    system, path = open_place(place)
    try:
        return read_file(system, path, MAX_BYTES)
    except read_errors(place) as error:
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"{place} cannot be read", why, "correct the path or address") from error


def _has_folders_alone(system: AbstractFileSystem, folder: str, place: str) -> bool:
    try:
        entries = system.ls(folder, detail=True)
    except read_errors(place):
        return False  # whoever looks for IDX files there says why
    names = {str(entry["name"]).rpartition("/")[2].removesuffix(".gz") for entry in entries}
    return not names & set(FILES) and any(entry["type"] == "directory" for entry in entries)


def _listed(system: AbstractFileSystem, folder: str, place: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    count = 0
    try:
        for parent, _, entries in system.walk(folder, maxdepth=_DEEPEST, detail=True, on_error="raise"):
            for name, entry in entries.items():
                path = f"{parent}/{name}"[len(folder) :].lstrip("/")
                if (count := count + 1) > archives.MAX_FILES:
                    why = f"more than {archives.MAX_FILES} files are in it"
                    raise DataError(f"{place} is too large", why, "give the folder of the pictures alone")
                if entry.get("islink") or entry["type"] != "file":
                    remedy = "put the file or folder itself there"
                    raise DataError(f"{place}/{path} is a link, or no file", "links are not followed", remedy)
                yield path, partial(_read, system, str(entry["name"]), f"{place}/{path}")
    except read_errors(place) as error:
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"{place} cannot be listed", why, "see that its folders can be read") from error


def _read(system: AbstractFileSystem, path: str, name: str) -> bytes:
    try:
        return read_file(system, path)
    except read_errors(name) as error:
        raise DataError(f"{name} cannot be read", f"{type(error).__name__}: {error}", "see that it can") from error
