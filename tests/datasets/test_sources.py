"""Where a data set comes from: folders, URLs, and what `auto` tries."""

from __future__ import annotations

import hashlib
import http.server
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import pytest

from hyperflow import datasets
from hyperflow.datasets import files, sources
from hyperflow.errors import DataError
from tests.datasets.source import NAME, SMALL, TEST_LABELS, TRAIN_IMAGES


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
    assert 1000 - _Quiet.failures <= files.ATTEMPTS * 2


def test_a_url_without_a_file_is_refused(web: str, source: Path) -> None:
    (source / TEST_LABELS).unlink()
    with pytest.raises(DataError, match="has no t10k-labels-idx1-ubyte"):
        datasets.load(web, NAME)


def test_too_large_a_file_is_not_read_to_its_end(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 100_000)
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


@pytest.mark.parametrize("place", ["/nowhere", "nosuch://bucket/folder"])
def test_places_that_are_not_there_are_refused(place: str) -> None:
    with pytest.raises(DataError, match=place):
        datasets.load(place, NAME)


def test_classes_txt_names_the_classes(source: Path) -> None:
    unnamed = datasets.load(str(source), NAME)
    names = [f"Sorte {number} é" for number in range(10)]
    (source / "classes.txt").write_text("\r\n".join(names) + "\n\n", encoding="utf-8")
    named = datasets.load(str(source), NAME)
    assert unnamed.classes == tuple("0123456789")
    assert named.classes == tuple(names)
    assert named.digest != unnamed.digest


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"shirt\nshoe\n", "class names do not match the labels"),
        (b"a\n" * 10, "two classes have one name"),
        (b"a\n\nb\nc\nd\ne\nf\ng\nh\ni\n", "cannot be called ''"),
        (b"\xff\xfe\n", "is no text"),
    ],
)
def test_a_classes_txt_that_names_them_wrongly_is_refused(source: Path, content: bytes, words: str) -> None:
    (source / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=words):
        datasets.load(str(source), NAME)


def test_lists_of_checksums_are_honoured(source: Path) -> None:
    digest = hashlib.md5((source / TRAIN_IMAGES).read_bytes()).hexdigest()
    (source / "MD5SUMS").write_text(f"{digest} *./{TRAIN_IMAGES}\n{'0' * 32}  something else\n")
    assert datasets.load(str(source), NAME).train_count == 1500
