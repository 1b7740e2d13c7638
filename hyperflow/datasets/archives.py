"""Archives of pictures: read in memory, never unpacked to a disk; what has no place in one is refused by name."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from hyperflow.datasets.idx import GZIP_MAGIC, MAX_BYTES
from hyperflow.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_FILES = 500_000

_AGAIN = "make the archive anew, as .zip, .tar or .tar.gz"
_ENCRYPTED = 1
_FAULTS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError)

_Member = TypeVar("_Member")


def files(place: str, content: bytes) -> dict[str, Callable[[], bytes]]:
    """Return what reads each file of an archive, by its path; `place` is for messages.

    Raises:
        DataError: The archive is damaged or too large, or a member is a link, is encrypted, or has a path that leads
            out of the archive.
    """
    try:
        found = _zipped(place, content) if zipfile.is_zipfile(io.BytesIO(content)) else _tarred(place, content)
    except _FAULTS as error:
        raise DataError(f"{place} is damaged, or no archive", f"{type(error).__name__}: {error}", _AGAIN) from error
    if not found:
        raise DataError(f"{place} is empty", remedy=_AGAIN)
    return found


def _zipped(place: str, content: bytes) -> dict[str, Callable[[], bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        mode = member.external_attr >> 16
        _check(place, member.filename, linked=bool(mode) and stat.S_IFMT(mode) not in (0, stat.S_IFREG))
        if member.flag_bits & _ENCRYPTED:
            raise DataError(f"{place}/{member.filename} is encrypted", remedy=_AGAIN)
    _check_size(place, len(members), sum(member.file_size for member in members))
    return {member.filename: partial(_read, place, member.filename, archive.read, member) for member in members}


def _tarred(place: str, content: bytes) -> dict[str, Callable[[], bytes]]:
    if content.startswith(GZIP_MAGIC):
        with gzip.open(io.BytesIO(content)) as packed:
            content = packed.read(MAX_BYTES + 1)
        _check_size(place, 1, len(content))
    archive = tarfile.open(fileobj=io.BytesIO(content), mode="r:")  # noqa: SIM115 - it stays open as long as its members are read
    members = [member for member in archive if not member.isdir()]
    for member in members:
        _check(place, member.name, linked=not member.isfile())
    _check_size(place, len(members), sum(member.size for member in members))

    def read(member: tarfile.TarInfo) -> bytes:
        file = archive.extractfile(member)
        return file.read() if file else b""

    return {
        member.name.removeprefix("./"): partial(_read, place, member.name, read, member) for member in members
    }  # fmt: skip


def _check(place: str, name: str, *, linked: bool) -> None:
    if linked:
        remedy = "put the file itself into the archive"
        raise DataError(f"{place}/{name} is a link, or no file", "links in archives are not followed", remedy)
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or name[1:2] == ":":
        raise DataError(f"{place} has a file that lies outside of it", repr(name), "make the archive of relative paths")


def _check_size(place: str, count: int, size: int) -> None:
    if count > MAX_FILES or size > MAX_BYTES:
        why = f"it has {count} files of {size} bytes; {MAX_FILES} and {MAX_BYTES} are the most"
        raise DataError(f"{place} is too large", why, "give fewer or smaller pictures")


def _read(place: str, name: str, read: Callable[[_Member], bytes], member: _Member) -> bytes:
    try:
        return read(member)
    except (*_FAULTS, NotImplementedError) as error:
        raise DataError(f"{place}/{name} is damaged", f"{type(error).__name__}: {error}", _AGAIN) from error
