"""Data sets: found, checked, put on the volume once, and opened again."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
import yaml

from hyperflow import datasets
from hyperflow.datasets import fashion_mnist, fetch, sources
from hyperflow.datasets.idx import read_idx, write_idx
from hyperflow.errors import DataError, InvalidParameter, Unavailable

SMALL = Path(__file__).parents[1] / "data" / "fashion-mnist-small"
NAME = "fashion-mnist-small"
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (f"{stem}.gz" for stem in sources.FILES)


@pytest.fixture(autouse=True)
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERFLOW_VOLUME", str(tmp_path / "volume"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(sources.ENVIRONMENT, raising=False)
    return tmp_path / "volume"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SMALL, tmp_path / "source"))


def test_a_folder_is_loaded_whole(volume: Path) -> None:
    loaded = datasets.load(str(SMALL), NAME)
    assert Path(loaded.path) == volume / "data" / NAME / loaded.digest
    assert sorted(path.name for path in Path(loaded.path).iterdir()) == sorted(
        ["dataset.json", *(f"{stem}.gz" for stem in sources.FILES)]
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


def test_the_digest_does_not_depend_on_the_packing(source: Path) -> None:
    packed = datasets.load(str(SMALL), NAME)
    for path in list(source.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert datasets.load(str(source), "unpacked").digest == packed.digest


@pytest.mark.parametrize("protocol", ["", "file://", "memory:/"])
def test_any_place_that_fsspec_opens(protocol: str) -> None:
    if protocol == "memory:/":
        memory = fsspec.filesystem("memory")
        for path in SMALL.iterdir():
            memory.pipe_file(f"{SMALL}/{path.name}", path.read_bytes())
    assert datasets.load(f"{protocol}{SMALL}", NAME).test_count == 500


class _Quiet(http.server.SimpleHTTPRequestHandler):
    failures = 0

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if type(self).failures:
            type(self).failures -= 1
            self.send_error(503)
        else:
            super().do_GET()


@pytest.fixture
def web(source: Path) -> Iterator[str]:
    handler = partial(_Quiet, directory=str(source))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.handle_error = lambda *_: None  # a client that hangs up is what one test is about
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_url_is_read_in_spite_of_passing_faults(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Quiet, "failures", 2)
    assert datasets.load(web, NAME).train_count == 1500
    assert _Quiet.failures == 0


def test_a_url_that_keeps_failing_is_given_up(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Quiet, "failures", 1000)
    with pytest.raises(DataError, match="503"):
        datasets.load(web, NAME)
    assert 1000 - _Quiet.failures <= sources.ATTEMPTS * 2


def test_a_url_without_a_file_is_refused(web: str, source: Path) -> None:
    (source / TEST_LABELS).unlink()
    with pytest.raises(DataError, match="has no t10k-labels-idx1-ubyte"):
        datasets.load(web, NAME)


def test_too_large_a_file_is_not_read_to_its_end(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 100_000)
    with pytest.raises(DataError, match="too large"):
        datasets.load(web, NAME)


def test_auto_takes_the_named_source_before_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.ENVIRONMENT, str(SMALL))
    assert datasets.load("auto", NAME).test_count == 500


def test_auto_takes_the_cache(tmp_path: Path) -> None:
    shutil.copytree(SMALL, tmp_path / "cache" / "hyperflow" / "datasets" / NAME)
    assert datasets.load("auto", NAME).test_count == 500


def test_auto_says_every_place_it_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(sources, "OFFICIAL_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setattr(sources, "SYSTEM_FOLDER", tmp_path / "nothing")
        with pytest.raises(DataError) as caught:
            datasets.load("auto", "fashion-mnist")
    for place in (str(tmp_path / "cache"), str(tmp_path / "nothing"), sources.OFFICIAL_URL):
        assert place in caught.value.why
    assert "make data" in caught.value.remedy


def test_in_a_pod_it_says_what_helps_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no make, no apt and no cache in a step's pod."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(DataError) as caught:
        datasets.load(str(tmp_path / "nothing"), "fashion-mnist")
    assert not re.search(r"\b(make|apt-get)\b", caught.value.remedy)
    assert "data_source" in caught.value.remedy
    assert "claim" in caught.value.remedy


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


@pytest.mark.parametrize("place", ["/nowhere", "nosuch://bucket/folder"])
def test_places_that_are_not_there_are_refused(place: str) -> None:
    with pytest.raises(DataError, match=place):
        datasets.load(place, NAME)


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
        (_other_shape, "28 x 28"),
        (_swapped, "another shape"),
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


def test_lists_of_checksums_are_honoured(source: Path) -> None:
    digest = hashlib.md5((source / TRAIN_IMAGES).read_bytes()).hexdigest()
    (source / "MD5SUMS").write_text(f"{digest} *./{TRAIN_IMAGES}\n{'0' * 32}  something else\n")
    assert datasets.load(str(source), NAME).train_count == 1500


def test_another_data_set_is_refused_under_the_name_of_fashion_mnist(volume: Path) -> None:
    with pytest.raises(DataError) as caught:
        datasets.load(str(SMALL), "fashion-mnist")
    assert "train-images-idx3-ubyte" in caught.value.what
    assert fashion_mnist.MD5["train-images-idx3-ubyte"] in caught.value.why
    assert hashlib.md5((SMALL / TRAIN_IMAGES).read_bytes()).hexdigest() not in fashion_mnist.MD5.values()
    assert "another name" in caught.value.remedy
    assert not volume.exists()


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


def real_files() -> Path | None:
    folders = (sources.cache_folder("fashion-mnist"), sources.SYSTEM_FOLDER)
    return next((folder for folder in folders if folder.is_dir()), None)


REAL = real_files()


@pytest.mark.skipif(REAL is None, reason="Fashion-MNIST is not on this machine: run `make data`")
def test_the_real_files_have_the_published_digests_with_and_without_their_headers(tmp_path: Path) -> None:
    assert REAL is not None
    stripped = tmp_path / "stripped"
    stripped.mkdir()
    for stem in sources.FILES:
        content = fashion_mnist.canonical(stem, (REAL / f"{stem}.gz").read_bytes())
        assert hashlib.md5(content).hexdigest() == fashion_mnist.MD5[stem]
        header = 10 + len(stem) + 1
        (stripped / f"{stem}.gz").write_bytes(b"\x1f\x8b\x08\x00\0\0\0\0\x02\x03" + content[header:])
    loaded = datasets.load(str(stripped), "fashion-mnist")
    assert (loaded.train_count, loaded.test_count) == (60_000, 10_000)
    assert loaded.classes[9] == "Ankle boot"
    assert (
        hashlib.md5((Path(loaded.path) / TRAIN_IMAGES).read_bytes()).hexdigest() == "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
    )


def test_a_machine_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no apt-get"):
        fetch.fetch_debian(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def _tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_apt_that_fails_is_reported_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tool(tmp_path, "apt-get", "echo 'E: no such package' >&2; exit 100")
    _tool(tmp_path, "dpkg-deb", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Unavailable, match="no such package"):
        fetch.fetch_debian(tmp_path / "cache")


def test_a_package_with_other_files_does_not_reach_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tool(tmp_path, "apt-get", "touch dataset-fashion-mnist_1_all.deb")
    _tool(
        tmp_path, "dpkg-deb", f'mkdir -p "$3/usr/share/datasets"; cp -r {SMALL} "$3/usr/share/datasets/fashion-mnist"'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(DataError, match="published"):
        fetch.fetch_debian(tmp_path / "cache" / "fashion-mnist")
    assert not (tmp_path / "cache" / "fashion-mnist").exists()
