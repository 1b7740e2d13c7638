"""IDX files: what is read back, and what is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from hyperflow.datasets import idx
from hyperflow.errors import DataError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
PLAIN = struct.pack(">HBBIII", 0, 8, 3, 2, 3, 4) + IMAGES.tobytes()


@pytest.mark.parametrize("name", ["images-idx3-ubyte", "images-idx3-ubyte.gz"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    idx.write_idx(tmp_path / name, IMAGES)
    np.testing.assert_array_equal(idx.read_idx(tmp_path / name), IMAGES)


def test_packed_files_do_not_depend_on_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idx.write_idx(tmp_path / "a.gz", IMAGES)
    monkeypatch.setattr("time.time", lambda: 1e9)
    idx.write_idx(tmp_path / "b.gz", IMAGES)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_an_empty_file_of_no_images_is_read() -> None:
    assert idx.parse_idx(struct.pack(">HBBI", 0, 8, 1, 0), "none").shape == (0,)


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


PACKED = gzip.compress(PLAIN, mtime=0)

DAMAGED = {
    "empty": (b"", "less than an IDX header"),
    "another magic number": (b"\x89PNG" + PLAIN[4:], "not an IDX magic number"),
    "no dimension": (struct.pack(">HBB", 0, 8, 0), "not an IDX magic number"),
    "five dimensions": (struct.pack(">HBB5I", 0, 8, 5, 1, 1, 1, 1, 1) + b"x", "not an IDX magic number"),
    "floats": (struct.pack(">HBBI", 0, 0x0D, 1, 1) + bytes(4), "type 0x0d"),
    "ends in its header": (PLAIN[:10], "within its header"),
    "too short": (PLAIN[:-1], "announces 40 bytes and it has 39 bytes"),
    "too long": (PLAIN + b"x", "bytes after its end"),
    "announces too much": (struct.pack(">HBBIII", 0, 8, 3, 2**31, 28, 28) + b"x", "more than the"),
    "packed too short": (gzip.compress(PLAIN[:-1]), "39 bytes"),
    "packed too long": (gzip.compress(PLAIN + b"x"), "bytes after its end"),
    "packed, truncated": (PACKED[:-12], "ends before its content"),
    "packed, without its check sum": (PACKED[:-8], "ends before its content"),
    "packed, a bit flipped in the check sum": (flipped(PACKED, len(PACKED) - 8), "incorrect data check"),
    "packed, bytes after its end": (PACKED + b"more", "4 bytes stand after its end"),
    "packed, a header only": (PACKED[:10], "less than an IDX header"),
    "packed, announces too much": (gzip.compress(struct.pack(">HBBI", 0, 8, 1, 2**31)), "more than the"),
}


@pytest.mark.parametrize(("content", "why"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_refused_by_name_and_cause(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        idx.read_idx(path)
    assert str(path) in caught.value.what
    assert why in caught.value.why
    assert caught.value.remedy


@pytest.mark.parametrize("position", range(10, len(PACKED)))
def test_any_flipped_bit_of_a_packed_file_is_noticed(position: int) -> None:
    with pytest.raises(DataError):
        idx.parse_idx(flipped(PACKED, position), "flipped")


def test_a_bomb_is_not_unpacked_beyond_its_header() -> None:
    bomb = gzip.compress(PLAIN + bytes(64 << 20))
    unpacked = idx._gunzip(bomb, "bomb")
    assert len(unpacked) == len(PLAIN) + 1
    with pytest.raises(DataError, match="bomb"):
        idx.parse_idx(bomb, "bomb")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        idx.read_idx(tmp_path / "nowhere")
