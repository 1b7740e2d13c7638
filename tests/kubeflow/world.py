"""A cluster in a folder: the emulated API server, the operators, a namespace that is ready, and the engine on it."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import yaml

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.specs import TrainResult, TrainSpec, TuneResult, TuneSpec
from hyperflow.specs.job import Backend
from hyperflow.specs.tune import Tuner
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.jobs import JobController
from tests.kubeflow.katib import Katib
from tests.kubeflow.kserve import KServe
from tests.kubeflow.kubelet import Kubelet
from tests.kubeflow.operators import TrainingOperator
from tests.kubeflow.store import Event, Object
from tests.kubeflow.trainer import Trainer, runtimes

NAMESPACE = "team"
RUNTIMES = Path(__file__).parents[2] / "manifests" / "components" / "trainer" / "training-runtimes.yaml"
GRACE = 0.3


class Controller(Protocol):
    """What acts on changes of the store."""

    def handle(self, event: Event) -> None: ...


def preferring(tuner: Tuner, backend: Backend) -> type[KubeflowEngine]:
    """Return the engine for users who always give these two parameters."""

    class Preferring(KubeflowEngine):
        def _tune(self, spec: TuneSpec) -> TuneResult:
            return super()._tune(dataclasses.replace(spec, tuner=tuner, training_backend=backend))

        def _train(self, spec: TrainSpec) -> TrainResult:
            return super()._train(dataclasses.replace(spec, training_backend=backend))

    return Preferring


@contextmanager
def kubeflow_world(folder: Path, made: type[KubeflowEngine] = KubeflowEngine) -> Iterator[KubeflowEngine]:
    """Give an engine whose pods run as processes of this machine, on the volume that HYPERFLOW_VOLUME names."""
    volume = Path(os.environ["HYPERFLOW_VOLUME"])
    with Emulator() as emulator, controllers(emulator, volume):
        prepare(emulator)
        yield engine_on(emulator, folder, made=made)


@contextmanager
def controllers(emulator: Emulator, volume: Path) -> Iterator[None]:
    """Run the control plane."""
    kubelet, kserve = Kubelet(emulator, volume), KServe(emulator, volume)
    katib = Katib(emulator, kubelet)
    training: list[Controller] = [JobController(emulator), TrainingOperator(emulator), Trainer(emulator)]
    parts: list[Controller] = [kubelet, *training, katib, kserve]
    stop = threading.Event()

    def manage() -> None:
        for event in emulator.store.events(stop):
            for part in parts:
                part.handle(event)

    thread = threading.Thread(target=manage, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
        katib.close()
        kubelet.close()
        kserve.close()


def prepare(emulator: Emulator) -> None:
    """Put what manifests/ puts into a namespace."""
    store = emulator.store
    labels = {"katib.kubeflow.org/metrics-collector-injection": "enabled"}
    store.create(("", "namespaces"), "", {"metadata": {"name": NAMESPACE, "labels": labels}})
    claim: Object = {"metadata": {"name": "hyperflow"}, "spec": {"accessModes": ["ReadWriteMany"]}}
    store.create(("", "persistentvolumeclaims"), NAMESPACE, {**claim, "status": {"phase": "Bound"}})
    runtimes(emulator, NAMESPACE, list(yaml.safe_load_all(RUNTIMES.read_text())))
    runtime: Object = {"metadata": {"name": "hyperflow"}, "spec": {}}
    store.create(("serving.kserve.io", "servingruntimes"), NAMESPACE, runtime)


CONTROLLERS = {
    "katib-controller": "kubeflow",
    "training-operator": "kubeflow",
    "ml-pipeline": "kubeflow",
    "kserve-controller-manager": "kserve",
}
"""The Deployments of the platform, and their namespaces."""


def install(emulator: Emulator) -> None:
    """Put the platform's controllers where its manifests put them."""
    for name, namespace in CONTROLLERS.items():
        containers = [{"name": "manager", "image": f"ghcr.io/kubeflow/{name}:v1"}]
        item: Object = {"metadata": {"name": name}, "spec": {"template": {"spec": {"containers": containers}}}}
        emulator.store.create(("apps", "deployments"), namespace, {**item, "status": {"availableReplicas": 1}})


def kubeconfig(emulator: Emulator, folder: Path, token_file: Path | None = None, token: str = "first") -> Path:
    """Write a kubeconfig for the emulated cluster."""
    user = {"tokenFile": str(token_file)} if token_file else {"token": token}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "emulated", "cluster": {"server": emulator.url}}],
        "users": [{"name": "step", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "emulated", "user": "step", "namespace": NAMESPACE}}],
        "current-context": "it",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def engine_on(
    emulator: Emulator,
    folder: Path,
    patience: float = 30,
    token_file: Path | None = None,
    made: type[KubeflowEngine] = KubeflowEngine,
) -> KubeflowEngine:
    """Make the engine as a step would, from a kubeconfig."""
    os.environ["KUBECONFIG"] = str(kubeconfig(emulator, folder, token_file))
    return made(cluster=Cluster(patience=patience), grace=GRACE)
