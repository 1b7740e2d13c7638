"""Data sets: checked, put on the volume once, and opened again."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from hyperflow import datasets
from hyperflow.datasets.files import FILES
from hyperflow.datasets.idx import read_idx, write_idx
from hyperflow.errors import DataError, InvalidParameter, Unavailable
from tests.datasets.source import NAME, SMALL, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS


def test_a_folder_is_loaded_whole(volume: Path) -> None:
    loaded = datasets.load(str(SMALL), NAME)
    assert Path(loaded.path) == volume / "data" / NAME / loaded.digest
    assert sorted(path.name for path in Path(loaded.path).iterdir()) == sorted(
        ["dataset.json", *(f"{stem}.gz" for stem in FILES)]
    )
    assert (loaded.train_count, loaded.test_count) == (1500, 500)
    assert loaded.classes == tuple("0123456789")
    assert loaded.images("train").shape == (1500, 28, 28)
    np.testing.assert_array_equal(np.bincount(loaded.labels("test")), [50] * 10)
    assert datasets.open_dataset(loaded.path) == loaded


def test_a_second_load_writes_nothing(volume: Path) -> None:
    first = Path(datasets.load(str(SMALL), NAME).path)
    before = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    assert Path(datasets.load(str(SMALL), NAME).path) == first
    assert {path.name: path.stat().st_mtime_ns for path in first.iterdir()} == before


def test_what_is_kept_is_not_unpacked_again_until_its_file_changes(volume: Path) -> None:
    loaded = datasets.load(str(SMALL), NAME)
    datasets.keep(loaded.path)
    images = loaded.images("train")
    assert np.shares_memory(loaded.images("train"), images)
    assert not images.flags.writeable
    assert not np.shares_memory(loaded.images("test"), loaded.images("test"))
    file = Path(loaded.path) / TRAIN_IMAGES
    write_idx(file, 255 - images)
    assert not np.shares_memory(loaded.images("train"), images)
    np.testing.assert_array_equal(loaded.images("train"), 255 - images)
    file.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        loaded.images("train")
    with pytest.raises(DataError, match="cannot be read"):
        datasets.keep(loaded.path)


def test_the_digest_does_not_depend_on_the_packing(source: Path) -> None:
    packed = datasets.load(str(SMALL), NAME)
    for path in list(source.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert datasets.load(str(source), "unpacked").digest == packed.digest


def test_a_claim_that_cannot_be_written_is_prepared_by_the_job_that_is_there(
    volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    volume.write_text("in the way, as a folder of root's would be")
    with pytest.raises(Unavailable) as caught:
        datasets.load(str(SMALL), NAME)
    command = caught.value.remedy
    manifest = Path(__file__).parents[2] / "manifests" / "base" / "prepare-claim.yaml"
    assert f"cronjob/{yaml.safe_load(manifest.read_text())['metadata']['name']}" in command


@pytest.mark.parametrize("dataset", ["", "..", "a/b", "A", "-a", "a" * 64])
def test_names_that_are_no_folder_are_refused(dataset: str) -> None:
    with pytest.raises(InvalidParameter, match="dataset"):
        datasets.load(str(SMALL), dataset)


def _replace(folder: Path, name: str, array: np.ndarray) -> None:
    write_idx(folder / name, array.astype(np.uint8))


def _missing(folder: Path) -> None:
    (folder / TRAIN_LABELS).unlink()


def _truncated(folder: Path) -> None:
    (folder / TRAIN_IMAGES).write_bytes((folder / TRAIN_IMAGES).read_bytes()[:-100])


def _bit_flipped(folder: Path) -> None:
    content = bytearray((folder / TEST_IMAGES).read_bytes())
    content[5000] ^= 4
    (folder / TEST_IMAGES).write_bytes(content)


def _not_idx(folder: Path) -> None:
    (folder / TEST_LABELS).write_bytes(b"<html>not found</html>")


def _empty(folder: Path) -> None:
    (folder / TEST_LABELS).write_bytes(b"")


def _fewer_labels(folder: Path) -> None:
    _replace(folder, TRAIN_LABELS, read_idx(folder / TRAIN_LABELS)[:-1])


def _no_images(folder: Path) -> None:
    _replace(folder, TEST_LABELS, np.zeros(0))
    _replace(folder, TEST_IMAGES, np.zeros((0, 28, 28)))


def _other_shape(folder: Path) -> None:
    _replace(folder, TEST_IMAGES, np.zeros((500, 32, 32)))


def _swapped(folder: Path) -> None:
    shutil.copy(folder / TRAIN_LABELS, folder / TRAIN_IMAGES)


def _class_missing(folder: Path) -> None:
    labels = read_idx(folder / TRAIN_LABELS)
    _replace(folder, TRAIN_LABELS, np.where(labels == 3, 4, labels))


def _one_class(folder: Path) -> None:
    _replace(folder, TRAIN_LABELS, np.zeros(1500))


def _strange_test_label(folder: Path) -> None:
    _replace(folder, TEST_LABELS, np.full(500, 10))


def _wrong_sum(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  {TRAIN_IMAGES}\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_missing, "has no train-labels"),
        (_truncated, "train-images"),
        (_bit_flipped, "t10k-images"),
        (_not_idx, "t10k-labels"),
        (_empty, "t10k-labels"),
        (_fewer_labels, "1500 images"),
        (_no_images, "wrong number of images"),
        (_other_shape, "those of train are [28, 28], those of test [32, 32]"),
        (_swapped, "another form"),
        (_class_missing, "not contiguous"),
        (_one_class, "at least two classes"),
        (_strange_test_label, "label 10"),
        (_wrong_sum, "SHA256SUMS"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_written(source: Path, volume: Path, damage, message: str) -> None:
    damage(source)
    with pytest.raises(DataError) as caught:
        datasets.load(str(source), NAME)
    assert message in str(caught.value)
    assert not volume.exists()


def test_a_volume_that_cannot_be_written_is_named(volume: Path) -> None:
    volume.write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="cannot be written"):
        datasets.load(str(SMALL), NAME)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / TRAIN_IMAGES).write_bytes(b"short"),
        lambda folder: (folder / TEST_LABELS).unlink(),
        lambda folder: (folder / "dataset.json").unlink(),
        lambda folder: (folder / "dataset.json").write_text("{"),
        lambda folder: (folder / "dataset.json").write_text("[]"),
        lambda folder: (folder / "dataset.json").write_text(json.dumps({"name": "x"})),
        lambda folder: _bit_flipped(folder),
    ],
)
def test_damage_on_the_volume_is_refused_and_left_alone(damage) -> None:
    folder = Path(datasets.load(str(SMALL), NAME).path)
    damage(folder)
    listing = sorted(folder.iterdir())
    for again in (lambda: datasets.open_dataset(str(folder)), lambda: datasets.load(str(SMALL), NAME)):
        with pytest.raises(DataError, match="remove"):
            again()
    assert sorted(folder.iterdir()) == listing
