"""How things appear on the volume: whole or not at all.

`staged` writes a folder beside its place and renames it there; `write_text` does so with a small file. What killed
writers left is removed by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from hyperflow import pod
from hyperflow.errors import Conflict, Unavailable

_ABANDONED = 24 * 3600.0  # seconds after which a writer on another machine counts as gone


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill; on a clean exit it becomes `target`, whole, in one rename.

    Two that write the same target at once are no trouble: the first one's stays.

    Raises:
        Unavailable: The volume cannot be written, or is full.
        Conflict: A file stands where the folder should go.
    """
    staging = target.parent / f".{target.name}.{_writer()}.{uuid.uuid4().hex[:8]}.partial"
    with writable(target.parent):
        staging.mkdir(parents=True)
    _sweep(target)
    try:
        with writable(target.parent):
            yield staging
            _sync(staging)
            _rename(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn the ways in which a disk refuses to be written into one clear error.

    Raises:
        Unavailable: No space, no permission, read-only or a failing disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(
                f"the disk of {folder} is full", str(error), "free some space and run it again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EIO):
            raise Unavailable(f"{folder} cannot be written", str(error), _way_to_write(folder)) from error
        raise


def _way_to_write(folder: Path) -> str:
    if not pod.is_inside():
        return f"make {folder} writable for user {os.getuid()}, or choose another folder"
    return (
        "give the claim's root folder to user 1000, once: kubectl create job -n <namespace> prepare-claim "
        "--from=cronjob/hyperflow-prepare-claim"
    )


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all, in place of an older one.

    Raises:
        Unavailable: The volume cannot be written, or is full.
    """
    with _partial(path, text) as partial:
        os.replace(partial, path)


def write_once(path: Path, content: str | bytes) -> bool:
    """Write a file whole where none is; return whether it was this one that was written.

    Raises:
        Unavailable: The volume cannot be written, or is full.
    """
    with _partial(path, content) as partial:
        try:
            os.link(partial, path)  # unlike a rename, it fails where the name is taken
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def _partial(path: Path, content: str | bytes) -> Iterator[Path]:
    """Write a content beside the place that it is for, and take away what was not moved there."""
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        try:
            partial.write_bytes(content if isinstance(content, bytes) else content.encode())
            yield partial
        finally:
            partial.unlink(missing_ok=True)


def _writer() -> str:
    """Name this process among all that may share the volume."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _sweep(target: Path) -> None:
    """Remove what killed writers of the same target left: those of this machine at once, others after a day."""
    for left in target.parent.glob(f".{target.name}.*.partial"):
        host, _, pid = left.name.removeprefix(f".{target.name}.").rsplit(".", 2)[0].rpartition("-")
        here = host == socket.gethostname() and pid.isdigit()
        with contextlib.suppress(FileNotFoundError):
            if not _runs(int(pid)) if here else time.time() - left.stat().st_mtime > _ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _rename(staging: Path, target: Path) -> None:
    try:
        os.rename(staging, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR) or not target.is_dir():
            if target.exists():
                remedy = "move it away and run it again"
                raise Conflict(f"{target} is in the way", "it is not a folder of ours", remedy) from error
            raise


def _sync(folder: Path) -> None:
    """Have the files on the disk before the rename is: a power cut must not leave empty ones."""
    for parent, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
