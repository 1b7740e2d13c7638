"""Which form of data a place has."""

from __future__ import annotations

import http.server
import shutil
import threading
from functools import partial
from pathlib import Path

import fsspec
import pytest

from hyperflow import datasets
from hyperflow.datasets import archives, own
from hyperflow.errors import DataError
from tests.datasets.own import folder_of_pictures
from tests.datasets.source import NAME, SMALL


def test_a_folder_of_idx_files_is_left_to_be_read_as_such() -> None:
    assert own.read(str(SMALL)) is None
    assert datasets.load(str(SMALL), NAME).shape == (28, 28, 1)


def test_idx_files_win_over_folders_beside_them(source: Path) -> None:
    folder_of_pictures(source, train=1, test=1)
    assert datasets.load(str(source), NAME).train_count == 1500


def test_pictures_may_lie_wherever_fsspec_lists_folders(tmp_path: Path) -> None:
    here = folder_of_pictures(tmp_path / "pictures", train=2, test=1)
    memory = fsspec.filesystem("memory")
    memory.put(str(here), "/pictures-in-memory", recursive=True)
    assert datasets.load("memory://pictures-in-memory", "shapes") == datasets.load(str(here), "shapes")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


def test_an_archive_may_come_from_a_web_server(tmp_path: Path) -> None:
    here = folder_of_pictures(tmp_path / "pictures", train=2, test=1)
    shutil.make_archive(str(tmp_path / "packed"), "zip", here)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        loaded = datasets.load(f"http://127.0.0.1:{server.server_port}/packed.zip?a=b", "shapes")
        server.shutdown()
    assert loaded == datasets.load(str(here), "shapes")


def test_a_folder_of_too_many_files_is_not_listed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    with pytest.raises(DataError, match="more than 3 files"):
        datasets.load(str(folder_of_pictures(tmp_path / "pictures", train=2, test=1)), "shapes")
