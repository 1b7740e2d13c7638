"""A volume and a cache of each test's own, and a source that it may damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hyperflow.datasets import sources
from tests.datasets.source import SMALL


@pytest.fixture(autouse=True)
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERFLOW_VOLUME", str(tmp_path / "volume"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(sources.ENVIRONMENT, raising=False)
    return tmp_path / "volume"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SMALL, tmp_path / "source"))
