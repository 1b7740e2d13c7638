"""The engines that the suite runs on, each in a world of its own. A new engine is one line in `WORLDS`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.engines import Engine
from hyperflow.engines.local import LocalEngine, processes
from hyperflow.progress import Progress
from tests.cluster.world import KATIB, KSERVE, TRAINER, need, real_cluster_world
from tests.kubeflow.world import kubeflow_world, preferring


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
    "kubeflow-trainjob": partial(kubeflow_world, made=preferring("katib", "trainjob")),
    "kubeflow-job": partial(kubeflow_world, made=preferring("job", "job")),
    "cluster": partial(real_cluster_world, made=preferring("katib", "tfjob")),
    "cluster-trainjob": partial(real_cluster_world, made=preferring("job", "trainjob")),
    "cluster-job": partial(real_cluster_world, made=preferring("job", "job")),
}
if os.environ.get("HYPERFLOW_WORLDS") == "all":  # the other pairs: no verb asks for both but a trial of many workers
    WORLDS |= {
        "cluster-tfjob-by-job": partial(real_cluster_world, made=preferring("job", "tfjob")),
        "cluster-trainjob-by-katib": partial(real_cluster_world, made=preferring("katib", "trainjob")),
        "cluster-job-by-katib": partial(real_cluster_world, made=preferring("katib", "job")),
    }
_NEEDS = {
    ("cluster", "TestTune"): KATIB,
    ("cluster", "TestServe"): (KSERVE,),
    **{("cluster-trainjob", suite): TRAINER for suite in ("TestTune", "TestTrain")},
    ("cluster-trainjob-by-katib", "TestTune"): (*KATIB, *TRAINER),
    ("cluster-trainjob-by-katib", "TestTrain"): TRAINER,
    ("cluster-job-by-katib", "TestTune"): KATIB,
}
"""What a world may lack for some of the promises."""

_OTHER_JOBS = tuple(name for name in WORLDS if name not in ("local", "kubeflow", "cluster"))
"""Worlds that differ from another in what tunes and trains, and not in what serves."""

_PARAMETERS = [
    pytest.param(name, marks=pytest.mark.cluster) if name.startswith("cluster") else pytest.param(name)
    for name in WORLDS
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
    if request.cls is not None and request.cls.__name__ == "TestServe" and request.param in _OTHER_JOBS:
        pytest.skip("serves as the world does that it is made of")
    if wanted := _NEEDS.get((request.param, request.cls.__name__ if request.cls else "")):
        need(*wanted)
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path / "volume"))
    (tmp_path / "volume").mkdir()
    with WORLDS[request.param](tmp_path) as made:
        made.tell = said.append
        yield made
