"""An emulated cluster for each test: bare, for states that a test sets by hand, or with its operators."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.engines.kubeflow import KubeflowEngine
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.world import controllers, engine_on, prepare


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the volume's folder."""
    folder = tmp_path / "volume"
    folder.mkdir()
    monkeypatch.setenv(volume.ENVIRONMENT, str(folder))
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    monkeypatch.setenv("KUBECONFIG", "")
    return folder


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Give a cluster without operators; the namespace is ready."""
    with Emulator() as made:
        prepare(made)
        yield made


@pytest.fixture
def operators(emulator: Emulator, root: Path) -> Iterator[None]:
    """Run the operators too."""
    with controllers(emulator, root):
        yield


@pytest.fixture
def engine(emulator: Emulator, tmp_path: Path) -> KubeflowEngine:
    """Give the engine on the cluster."""
    return engine_on(emulator, tmp_path)
