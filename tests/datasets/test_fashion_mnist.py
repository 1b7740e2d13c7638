"""Fashion-MNIST is known by its published digests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from hyperflow import datasets
from hyperflow.datasets import fashion_mnist, sources
from hyperflow.datasets.files import FILES
from hyperflow.errors import DataError
from tests.datasets.source import SMALL, TRAIN_IMAGES


def test_another_data_set_is_refused_under_the_name_of_fashion_mnist(volume: Path) -> None:
    with pytest.raises(DataError) as caught:
        datasets.load(str(SMALL), "fashion-mnist")
    assert "train-images-idx3-ubyte" in caught.value.what
    assert fashion_mnist.MD5["train-images-idx3-ubyte"] in caught.value.why
    assert hashlib.md5((SMALL / TRAIN_IMAGES).read_bytes()).hexdigest() not in fashion_mnist.MD5.values()
    assert "another name" in caught.value.remedy
    assert not volume.exists()


def real_files() -> Path | None:
    folders = (sources.cache_folder("fashion-mnist"), sources.SYSTEM_FOLDER)
    return next((folder for folder in folders if folder.is_dir()), None)


REAL = real_files()


@pytest.mark.skipif(REAL is None, reason="Fashion-MNIST is not on this machine: run `make data`")
def test_the_real_files_have_the_published_digests_with_and_without_their_headers(tmp_path: Path) -> None:
    assert REAL is not None
    stripped = tmp_path / "stripped"
    stripped.mkdir()
    for stem in FILES:
        content = fashion_mnist.canonical(stem, (REAL / f"{stem}.gz").read_bytes())
        assert hashlib.md5(content).hexdigest() == fashion_mnist.MD5[stem]
        header = 10 + len(stem) + 1
        (stripped / f"{stem}.gz").write_bytes(b"\x1f\x8b\x08\x00\0\0\0\0\x02\x03" + content[header:])
    loaded = datasets.load(str(stripped), "fashion-mnist")
    assert (loaded.train_count, loaded.test_count) == (60_000, 10_000)
    assert loaded.classes[9] == "Ankle boot"
    assert (loaded.digest, loaded.shape) == ("14410854cf7a2894", (28, 28, 1))
    for stem in FILES:
        stored = (Path(loaded.path) / f"{stem}.gz").read_bytes()
        assert hashlib.md5(stored).hexdigest() == fashion_mnist.MD5[stem]


def test_the_small_data_set_lies_on_the_volume_as_it_did_before_there_were_other_shapes() -> None:
    loaded = datasets.load(str(SMALL), "small")
    assert loaded.digest == "0e73691001f6ef50"
    for stem in FILES:
        assert (Path(loaded.path) / f"{stem}.gz").read_bytes() == (SMALL / f"{stem}.gz").read_bytes()


def test_a_volume_from_before_there_were_other_shapes_can_be_read() -> None:
    loaded = datasets.load(str(SMALL), "small")
    card = Path(loaded.path) / "dataset.json"
    told = json.loads(card.read_text())
    assert told.pop("shape") == [28, 28, 1]
    card.write_text(json.dumps(told))
    assert datasets.open_dataset(loaded.path) == loaded
