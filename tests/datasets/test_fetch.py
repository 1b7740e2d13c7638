"""Fetching from Debian's package: its failures are told, and only the published files reach the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperflow.datasets import fetch
from hyperflow.errors import DataError, Unavailable
from tests.datasets.source import SMALL


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
