"""IDX, the format of MNIST and its kin: a magic number, the dimensions, then the bytes, packed with gzip or not.

Files come from outside. Nothing is unpacked beyond the size that a file's own header announces.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperflow.errors import DataError

Bytes = npt.NDArray[np.uint8]

MAX_BYTES = 1 << 30
"""The largest file, unpacked, that is read."""

GZIP_MAGIC = b"\x1f\x8b"

_UNSIGNED_BYTE = 0x08
_MAX_DIMENSIONS = 4
_REMEDY = "get the file again, or take it out if it does not belong there"


def read_idx(path: Path) -> Bytes:
    """Read a file into an array of its own dimensions.

    Raises:
        DataError: The file is missing, damaged, or not IDX of unsigned bytes.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read", str(error), "give the folder of the data set's four files") from error
    return parse_idx(content, str(path))


def write_idx(path: Path, array: Bytes) -> None:
    """Write an array, packed if the name ends in `.gz`; the same array always gives the same bytes."""
    content = to_idx(array)
    path.write_bytes(pack(content) if path.suffix == ".gz" else content)


def to_idx(array: Bytes) -> bytes:
    """Return an array as a file's content, not packed."""
    header = struct.pack(">HBB", 0, _UNSIGNED_BYTE, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8, casting="safe").tobytes()


def parse_idx(content: bytes, name: str) -> Bytes:
    """Read a file's content, packed or not; `name` is for messages.

    Raises:
        DataError: The content is damaged, or not IDX of unsigned bytes.
    """
    plain = unpack(content, name)
    shape = _shape(plain, name)
    return np.frombuffer(plain, np.uint8, offset=_header_size(len(shape))).reshape(shape)


def pack(content: bytes) -> bytes:
    """Pack with gzip, without a time stamp."""
    return gzip.compress(content, compresslevel=9, mtime=0)


def unpack(content: bytes, name: str) -> bytes:
    """Return exactly the bytes that the IDX header announces, unpacked where the content is gzip.

    Raises:
        DataError: There are fewer bytes, or more, or the packing is damaged.
    """
    plain = _gunzip(content, name) if content.startswith(GZIP_MAGIC) else content
    expected = _size(plain, name)
    if len(plain) != expected:
        found = f"{len(plain)} bytes" if len(plain) < expected else "bytes after its end"
        raise _damaged(name, f"its header announces {expected} bytes and it has {found}")
    return plain


def _gunzip(content: bytes, name: str) -> bytes:
    stream, plain = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), io.BytesIO()
    try:
        plain.write(stream.decompress(content, _header_size(_MAX_DIMENSIONS)))
        size = _size(plain.getvalue(), name)
        plain.write(stream.decompress(stream.unconsumed_tail, max(size - plain.tell(), 0) + 1))
    except zlib.error as error:
        raise _damaged(name, f"gzip: {error}") from error
    if not stream.eof and plain.tell() <= size:
        raise _damaged(name, "gzip: the file ends before its content does")
    if stream.unused_data:
        raise _damaged(name, f"gzip: {len(stream.unused_data)} bytes stand after its end")
    return plain.getvalue()


def _size(plain: bytes, name: str) -> int:
    shape = _shape(plain, name)
    size = _header_size(len(shape)) + math.prod(shape)
    if size > MAX_BYTES:
        raise _damaged(name, f"its header announces {size} bytes, more than the {MAX_BYTES} that are read")
    return size


def _shape(plain: bytes, name: str) -> tuple[int, ...]:
    if len(plain) < 4:
        raise _damaged(name, f"it has {len(plain)} bytes, less than an IDX header")
    zero, kind, dimensions = struct.unpack_from(">HBB", plain)
    if zero != 0 or not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise _damaged(name, f"it starts with {plain[:4].hex()}, which is not an IDX magic number")
    if kind != _UNSIGNED_BYTE:
        raise _damaged(name, f"its values have IDX type 0x{kind:02x}, not 0x08 (unsigned byte)")
    if len(plain) < _header_size(dimensions):
        raise _damaged(name, "it ends within its header")
    shape: tuple[int, ...] = struct.unpack_from(f">{dimensions}I", plain, 4)
    return shape


def _header_size(dimensions: int) -> int:
    return 4 + 4 * dimensions


def _damaged(name: str, why: str) -> DataError:
    return DataError(f"{name} is damaged, or not an IDX file", why, _REMEDY)
