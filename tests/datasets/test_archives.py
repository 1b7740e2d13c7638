"""Archives of pictures: the same as the folder, and nothing that leads out of them."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from hyperflow import datasets
from hyperflow.datasets import archives
from hyperflow.errors import DataError
from tests.datasets.own import folder_of_pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_of_pictures(tmp_path / "pictures", train=3, test=1)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
@pytest.mark.parametrize("around", ["", "pictures"])
def test_an_archive_is_the_same_as_its_folder(tmp_path: Path, pictures: Path, kind: str, around: str) -> None:
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path if around else pictures, around or None)
    assert datasets.load(packed, "shapes") == datasets.load(str(pictures), "shapes")


def zipped(path: Path, name: str, mode: int = 0, content: bytes = b"x") -> str:
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, content)
    return str(path)


def tarred(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> str:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member, io.BytesIO())
    return str(path)


@pytest.mark.parametrize("name", ["/etc/cat/1.png", "../cat/1.png", "train/../../1.png", "a\\b\\1.png", "C:/cat/1.png"])
@pytest.mark.parametrize("make", [zipped, tarred])
def test_paths_that_lead_out_are_refused(tmp_path: Path, make, name: str) -> None:
    with pytest.raises(DataError, match="lies outside"):
        datasets.load(make(tmp_path / ("a.zip" if make is zipped else "a.tar"), name), "shapes")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(DataError, match=r"train/cat/1\.png is a link"):
        datasets.load(tarred(tmp_path / "a.tar", "train/cat/1.png", kind), "shapes")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    place = zipped(tmp_path / "a.zip", "train/cat/1.png", stat.S_IFLNK | 0o777, b"/etc/passwd")
    with pytest.raises(DataError, match=r"train/cat/1\.png is a link"):
        datasets.load(place, "shapes")


@pytest.mark.parametrize(("bound", "value"), [("MAX_FILES", 3), ("MAX_BYTES", 1000)])
@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_too_much_is_refused(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, kind: str
) -> None:
    monkeypatch.setattr(archives, bound, value)
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, pictures)
    with pytest.raises(DataError, match="is too large"):
        datasets.load(packed, "shapes")


def test_a_damaged_picture_in_an_archive_is_named(tmp_path: Path, pictures: Path) -> None:
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", pictures))
    content = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        start = archive.getinfo("train/red/001.png").header_offset
    content[start + 200] ^= 255
    packed.write_bytes(content)
    with pytest.raises(DataError, match=r"train/red/001\.png is damaged"):
        datasets.load(str(packed), "shapes")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x1f\x8b\x08\0broken", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"no archive|is empty"):
        datasets.load(str(tmp_path / name), "shapes")
