"""Pictures in folders: both layouts, grey and in colour, and what is refused by the name of the picture."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperflow import datasets
from hyperflow.datasets import arrays
from hyperflow.errors import DataError
from tests.datasets.own import COLOURS, folder_of_pictures

CLASSES = tuple(sorted(COLOURS))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_of_pictures(tmp_path / "pictures")


def test_a_folder_of_pictures_becomes_four_idx_files_with_a_card(pictures: Path) -> None:
    loaded = datasets.load(str(pictures), "shapes")
    assert (loaded.shape, loaded.classes) == ((32, 32, 3), CLASSES)
    assert (loaded.train_count, loaded.test_count) == (30, 10)
    assert loaded.labels("train").tolist() == [label for label in range(5) for _ in range(6)]
    first = np.asarray(Image.open(pictures / "train" / "black" / "000.png"))
    np.testing.assert_array_equal(loaded.images("train")[0], first)
    last = np.asarray(Image.open(pictures / "test" / "white" / "001.jpg"))
    np.testing.assert_array_equal(loaded.images("test")[-1], last)
    assert datasets.open_dataset(loaded.path) == loaded


def test_without_a_test_part_a_share_of_each_class_is_put_aside(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {image.tobytes() for image in datasets.load(str(pictures), "shapes").images("train")}
    shutil.rmtree(pictures / "test")
    first = datasets.load(str(pictures), "shapes")
    assert (first.train_count, first.test_count) == (25, 5)
    assert sorted(first.labels("test").tolist()) == [0, 1, 2, 3, 4], "one of six, of each class"
    train, test = ({image.tobytes() for image in first.images(split)} for split in ("train", "test"))
    assert train | test == whole
    assert not train & test
    said = capsys.readouterr().out.strip().splitlines()
    assert said == [f"{pictures}: it has no test part: 5 images, 20% of each class, were put aside as one"]
    assert datasets.load(str(pictures), "shapes").digest == first.digest, "the same ones each time"


def test_classes_may_lie_in_the_folder_itself(pictures: Path) -> None:
    shutil.rmtree(pictures / "test")
    split = datasets.load(str(pictures), "shapes")
    assert datasets.load(str(pictures / "train"), "shapes") == split


def test_what_no_one_put_there_is_left_out(pictures: Path) -> None:
    before = datasets.load(str(pictures), "shapes").digest
    (pictures / "README.md").write_text("about the pictures")
    (pictures / "train" / "red" / ".DS_Store").write_bytes(b"\0")
    (pictures / "train" / "red" / "Thumbs.db").write_bytes(b"\0")
    assert datasets.load(str(pictures), "shapes").digest == before


def test_other_names_of_the_classes_are_another_data_set(pictures: Path) -> None:
    before = datasets.load(str(pictures), "shapes")
    for split in ("train", "test"):
        (pictures / split / "red").rename(pictures / split / "scarlet")
    after = datasets.load(str(pictures), "shapes")
    assert before.digest != after.digest
    assert after.classes == ("black", "blue", "green", "scarlet", "white")


def every_picture(root: Path, change: Callable[[Image.Image], Image.Image]) -> None:
    for path in list(root.rglob("*.png")) + list(root.rglob("*.jpg")):
        changed = change(Image.open(path))
        path.unlink()
        changed.save(path.with_suffix(".png"))


def test_grey_pictures_have_one_channel(pictures: Path) -> None:
    every_picture(pictures, lambda picture: picture.convert("L"))
    loaded = datasets.load(str(pictures), "shapes")
    assert loaded.shape == (32, 32, 1)
    assert loaded.images("train").shape == (30, 32, 32)


def test_among_coloured_pictures_a_grey_one_gets_three_equal_channels(pictures: Path) -> None:
    path = pictures / "train" / "black" / "000.png"
    Image.open(path).convert("L").save(path)
    image = datasets.load(str(pictures), "shapes").images("train")[0]
    assert image.shape == (32, 32, 3)
    assert (image[..., 0] == image[..., 2]).all()


def test_what_is_transparent_is_white(pictures: Path) -> None:
    path = pictures / "train" / "black" / "000.png"
    Image.new("RGBA", (32, 32), (10, 20, 30, 0)).save(path)
    assert (datasets.load(str(pictures), "shapes").images("train")[0] == 255).all()


def test_pictures_need_not_be_square(tmp_path: Path) -> None:
    loaded = datasets.load(str(folder_of_pictures(tmp_path / "wide", size=(40, 24))), "wide")
    assert loaded.shape == (24, 40, 3)


def _other_size(root: Path) -> None:
    Image.new("RGB", (32, 24)).save(root / "train" / "blue" / "003.png")


def _broken(root: Path) -> None:
    path = root / "test" / "green" / "001.jpg"
    path.write_bytes(path.read_bytes()[:300])


def _no_picture(root: Path) -> None:
    (root / "test" / "green" / "001.jpg").write_bytes(b"<html>not found</html>")


def _text_in_a_class(root: Path) -> None:
    (root / "train" / "green" / "labels.csv").write_text("a,b")


def _no_class(root: Path) -> None:
    shutil.copy(root / "train" / "green" / "000.png", root / "train" / "lost.png")


def _too_deep(root: Path) -> None:
    (root / "train" / "green" / "dark").mkdir()
    shutil.copy(root / "train" / "green" / "000.png", root / "train" / "green" / "dark" / "000.png")


def _third_part(root: Path) -> None:
    shutil.copytree(root / "test", root / "val")


def _strange_class(root: Path) -> None:
    (root / "test" / "red").rename(root / "test" / "pink")


def _no_train(root: Path) -> None:
    shutil.rmtree(root / "train")


def _one_class(root: Path) -> None:
    for name in CLASSES[1:]:
        shutil.rmtree(root / "train" / name)
        shutil.rmtree(root / "test" / name)


def _linked(root: Path) -> None:
    (root / "train" / "red" / "999.png").symlink_to("/etc/passwd")


def _linked_folder(root: Path) -> None:
    (root / "train" / "other").symlink_to("/etc")


def _pipe(root: Path) -> None:
    """Reading it would take for ever."""
    os.mkfifo(root / "train" / "red" / "999.png")


def _sixteen_bits(root: Path) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(root / "train" / "black" / "000.png")


def _bomb(root: Path) -> None:
    """A header that announces 12,000 × 12,000 pixels, over a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    (root / "train" / "black" / "000.png").write_bytes(content)


def _too_small(root: Path) -> None:
    every_picture(root, lambda picture: picture.resize((32, 7)))


def _strange_name(root: Path) -> None:
    (root / "train" / "red").rename(root / "train" / "re\nd")


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (_other_size, ["train/blue/003.png has another size", "32 × 24", "train/black/000.png has 32 × 32", "resize"]),
        (_broken, ["test/green/001.jpg is broken"]),
        (_no_picture, ["test/green/001.jpg is broken, or no picture"]),
        (_text_in_a_class, ["train/green/labels.csv is not a kind of picture"]),
        (_no_class, ["train/lost.png is in no folder of a class"]),
        (_too_deep, ["train/green/dark/000.png is in no folder of a class"]),
        (_third_part, ["val/black/000.jpg is in no folder of a class"]),
        (_strange_class, ["test has a class that train has not", "pink"]),
        (_no_train, ["no pictures to learn from"]),
        (_one_class, ["at least two classes"]),
        (_linked, ["train/red/999.png is a link"]),
        (_pipe, ["train/red/999.png is a link, or no file"]),
        (_linked_folder, ["train/other is a link"]),
        (_sixteen_bits, ["train/black/000.png has more than 8 bits a channel"]),
        (_bomb, ["train/black/000.png is too large", "12000 × 12000"]),
        (_too_small, ["train/black/000.png is too small"]),
        (_strange_name, ["a class cannot be called 're\\nd'"]),
    ],
)
def test_what_is_wrong_is_refused_by_name(pictures: Path, volume: Path, damage, parts: list[str]) -> None:
    damage(pictures)
    with pytest.raises(DataError) as caught:
        datasets.load(str(pictures), "shapes")
    for part in parts:
        assert part in str(caught.value)
    assert not volume.exists()


def test_a_class_of_one_picture_cannot_be_divided(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class 0 has one image"):
        datasets.load(str(folder_of_pictures(tmp_path / "few", train=1, test=0)), "few")


def test_too_many_pictures_are_not_read_to_their_end(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperflow.datasets.pictures.MAX_BYTES", 10 * 32 * 32 * 3)
    with pytest.raises(DataError, match="pictures are too many"):
        datasets.load(str(pictures), "shapes")


def test_pictures_are_not_taken_for_fashion_mnist(pictures: Path) -> None:
    with pytest.raises(DataError, match="is not Fashion-MNIST"):
        datasets.load(str(pictures), "fashion-mnist")


@pytest.mark.parametrize("dimensions", [(28, 28, 2), (28,), (), (8, 8, 3, 3)])
def test_images_of_other_forms_are_refused(dimensions: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="another form"):
        arrays.check_shape("x", dimensions)
