"""An .npz: what becomes of its arrays, and what is refused without being believed."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperflow import datasets
from hyperflow.errors import DataError

NAMES = np.array(["cat", "dog <b>", "$cow$"])


def whole(**changed: Any) -> dict[str, Any]:
    random = np.random.default_rng(1)
    given = {
        "x_train": random.integers(0, 256, (30, 16, 12, 3), dtype=np.uint8), "y_train": np.arange(30) % 3,
        "x_test": random.integers(0, 256, (9, 16, 12, 3), dtype=np.uint8), "y_test": np.arange(9) % 3,
        "class_names": NAMES,
    }  # fmt: skip
    return {name: value for name, value in {**given, **changed}.items() if value is not None}


def saved(tmp_path: Path, **changed: Any) -> str:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **whole(**changed))
    return str(path)


def test_the_arrays_become_a_data_set(tmp_path: Path) -> None:
    given = whole()
    loaded = datasets.load(saved(tmp_path), "animals")
    assert (loaded.shape, loaded.classes) == ((16, 12, 3), tuple(NAMES))
    np.testing.assert_array_equal(loaded.images("train"), given["x_train"])
    np.testing.assert_array_equal(loaded.labels("test"), given["y_test"])


def test_names_may_be_left_out_labels_may_stand_in_a_column_and_channels_may_be_one(tmp_path: Path) -> None:
    given = whole()
    grey = {name: given[name][..., :1] for name in ("x_train", "x_test")}
    place = saved(tmp_path, **grey, y_train=given["y_train"][:, None].astype(np.int8), class_names=None)
    loaded = datasets.load(place, "animals")
    assert (loaded.shape, loaded.classes) == ((16, 12, 1), ("0", "1", "2"))
    np.testing.assert_array_equal(loaded.images("train"), given["x_train"][..., 0])


def test_without_a_test_part_one_is_put_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = datasets.load(saved(tmp_path, x_test=None, y_test=None), "animals")
    assert (loaded.train_count, loaded.test_count) == (24, 6)
    assert np.bincount(loaded.labels("test")).tolist() == [2, 2, 2]
    assert "no test part" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": None}, "lacks arrays"),
        ({"x_test": None}, "lacks arrays"),
        ({"x_train": np.zeros((30, 16, 12, 3))}, "x_train is of type float64"),
        ({"x_train": np.zeros((30, 16, 12, 4), np.uint8)}, "another form"),
        ({"x_train": np.zeros((30, 192), np.uint8)}, "another form"),
        ({"x_train": np.zeros((30, 16, 14, 3), np.uint8)}, "different shapes"),
        ({"y_train": np.arange(29) % 3}, "do not match"),
        ({"y_train": np.arange(30) % 3 - 1}, "labels that are none"),
        ({"y_train": np.arange(30) + 300}, "labels that are none"),
        ({"y_train": np.arange(30) % 3 * 2}, "not contiguous"),
        ({"y_train": np.arange(30) % 3 + 0.5}, "do not match"),
        ({"y_test": np.full(9, 3)}, "test has a class that train has not"),
        ({"class_names": NAMES[:2]}, "class names do not match"),
        ({"class_names": np.array(["a", "a", "b"])}, "two classes have one name"),
        ({"class_names": np.array(["a", "", "b"])}, "cannot be called ''"),
        ({"class_names": np.array([1, 2, 3])}, "no texts"),
        ({"class_names": np.array(["a", "b", 3], dtype=object)}, "Python objects"),
    ],
)
def test_what_is_wrong_is_refused(tmp_path: Path, volume: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        datasets.load(saved(tmp_path, **changed), "animals")
    assert not volume.exists()


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([Trap()], dtype=object), allow_pickle=True)
    assert pickle.PROTO in buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x_train.npy", buffer.getvalue())
    with pytest.raises(DataError, match="Python objects"):
        datasets.load(str(tmp_path / "data.npz"), "animals")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("shape", [(1 << 40, 28, 28), (31, 16, 12, 3)])
def test_a_header_that_announces_more_than_there_is_is_not_believed(tmp_path: Path, shape: tuple[int, ...]) -> None:
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x_train.npy", buffer.getvalue() + b"\0" * 100)
    with pytest.raises(DataError, match="another size than its header says"):
        datasets.load(str(tmp_path / "data.npz"), "animals")


def test_too_large_an_array_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperflow.datasets.npz.MAX_BYTES", 1000)
    with pytest.raises(DataError, match="too large"):
        datasets.load(saved(tmp_path), "animals")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + b"\0" * 100])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"damaged, or no \.npz"):
        datasets.load(str(tmp_path / "data.npz"), "animals")


def test_a_file_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        datasets.load(str(tmp_path / "nothing.npz"), "animals")
