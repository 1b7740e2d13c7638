from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.tracking import credentials, record
from tests.tracking.mlflow import Mlflow, serving


@pytest.fixture
def mlflow() -> Iterator[Mlflow]:
    with serving(Mlflow()) as server:
        yield server


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path / "volume"))
    for name in (record.PARENT, credentials.USERNAME, credentials.PASSWORD, credentials.TOKEN):
        monkeypatch.delenv(name, raising=False)
