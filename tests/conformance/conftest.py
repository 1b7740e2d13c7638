"""The engines that the suite runs on, each in a world of its own. A new engine is one line in `WORLDS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.engines import Engine
from hyperflow.engines.local import LocalEngine, processes
from hyperflow.progress import Progress
from tests.cluster.world import KATIB, KSERVE, need, real_cluster_world
from tests.kubeflow.world import kubeflow_world


@contextmanager
def local_world(folder: Path) -> Iterator[Engine]:
    """This machine, with a volume of its own; what is left running ends with the world."""
    engine = LocalEngine()
    try:
        yield engine
    finally:
        for name in engine.services.names():
            engine.services.stop(name)


@pytest.fixture(scope="module", autouse=True)
def warm() -> Iterator[None]:
    """Import TensorFlow once for all the model servers that the suite starts."""
    with processes.launcher():
        yield


WORLDS: dict[str, Callable[[Path], AbstractContextManager[Engine]]] = {
    "local": local_world,
    "kubeflow": kubeflow_world,
    "cluster": real_cluster_world,
}
_NEEDS = {("cluster", "TestTune"): KATIB, ("cluster", "TestServe"): (KSERVE,)}
"""What a world may lack for some of the promises."""

_PARAMETERS = [
    pytest.param(name, marks=pytest.mark.cluster) if name == "cluster" else pytest.param(name) for name in WORLDS
]


class Said(list[Progress]):
    """Everything that an engine reported."""


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture(params=_PARAMETERS)
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> Iterator[Engine]:
    if wanted := _NEEDS.get((request.param, request.cls.__name__ if request.cls else "")):
        need(*wanted)
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path / "volume"))
    (tmp_path / "volume").mkdir()
    with WORLDS[request.param](tmp_path) as made:
        made.report = said.append
        yield made
