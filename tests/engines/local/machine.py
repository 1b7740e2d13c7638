"""A machine with small real models, each told by its answer, and the pipeline's own steps to roll them out."""

from __future__ import annotations

import inspect
import json
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from hyperflow import datasets, volume
from hyperflow.engines.local import LocalEngine, processes
from hyperflow.engines.local.services import KEEP, Services
from hyperflow.parameters import Parameters
from hyperflow.specs import Endpoint, ModelRef, ServeSpec

SMALL = Path(__file__).parents[2] / "data" / "fashion-mnist-small"
PARAMETERS = Parameters.complete(
    {
        "model_name": "rolled", "smoke_instances": 100, "accuracy_floor": 0.5, "smoke_accuracy_floor": 0.5,
        "deploy_timeout": 60,
    }
)  # fmt: skip
NAME = PARAMETERS.model_name
PATH = f"/v1/models/{NAME}:predict"


@pytest.fixture(scope="module")
def warm() -> Iterator[psutil.Process]:
    """Import TensorFlow once for all servers; gives the process that they are forked from, and nothing else."""
    before = set(psutil.Process().children())
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv(processes.LAUNCHER, raising=False)  # other tests may have one
        with processes.launcher():
            (launcher,) = set(psutil.Process().children()) - before
            yield launcher


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: psutil.Process) -> Iterator[Machine]:
    """A volume with the data set, where services outlive their runs."""
    for name, value in ((volume.ENVIRONMENT, str(tmp_path)), ("HYPERFLOW_ENGINE", "local"), (KEEP, "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HYPERFLOW_RUN_ID", raising=False)
    handler = signal.getsignal(signal.SIGTERM)  # the steps install their own
    made = Machine(datasets.load(str(SMALL), "small"))
    yield made
    made.services.stop(NAME)
    signal.signal(signal.SIGTERM, handler)


@dataclass
class Machine:
    """Models on a volume by their numbers, what they answer to one image, and the steps that roll them out."""

    dataset: datasets.Dataset
    engine: LocalEngine = field(default_factory=LocalEngine)
    answers: dict[int, Any] = field(default_factory=dict)

    @property
    def services(self) -> Services:
        return self.engine.services

    @property
    def probe(self) -> Any:
        """The image that everybody asks about."""
        return self.dataset.images("test")[:1]

    @property
    def body(self) -> bytes:
        return json.dumps({"instances": [{"flatten_input": self.probe.reshape(-1).tolist()}]}).encode()

    def save(self, number: int, misreads: bool = False, broken: bool = False) -> ModelRef:
        """Put a model on the volume: one that reads most images right, one that reads them wrong, or a damaged one.

        Those with an even number have an ONNX copy, the others need TensorFlow.
        """
        from tests.serving import models

        labels = (self.dataset.labels("train").astype(int) + misreads) % 10
        model = models.Linear(self.dataset.images("train"), labels, 1 + number / 4)
        folder = models.save(model, Path(self.model(number).path), onnx_copy=number % 2 == 0 and not broken)
        self.answers[number] = models.answers(folder, self.probe)[0]
        if broken:
            file = folder / "1" / "saved_model.pb"
            file.write_bytes(file.read_bytes()[:1000])
        return self.model(number)

    def model(self, number: int) -> ModelRef:
        run_id = f"run-{number}"
        return ModelRef(str(volume.model_path(NAME, run_id)), run_id, 0.7, self.dataset.digest)

    def stage(self, number: int, port: int = 0) -> Endpoint:
        """Have a model served beside what is, as the engine does."""
        return self.services.stage(ServeSpec(f"run-{number}", NAME, self.model(number), port=port, timeout=60))

    def deploy(self, number: int) -> str:
        """Run the pipeline's step."""
        from components.deploy import deploy

        model = self.model(number)
        url: str = _call(
            deploy, run_id=model.run_id, model_path=model.path, data_digest=model.data, best_parameters={},
            accuracy=model.accuracy,
        )  # fmt: skip
        return url

    def predict(self, number: int, url: str) -> str:
        """Run the pipeline's step."""
        from kfp import dsl

        from components.predict import predict

        model = self.model(number)
        pages = volume.run_path(model.run_id) / "predict"
        promoted: str = _call(
            predict, run_id=model.run_id, data_path=self.dataset.path, url=url, model_path=model.path,
            metrics=dsl.Metrics(uri=str(pages / "metrics")), answers=dsl.HTML(uri=str(pages / "html")),
        )  # fmt: skip
        return promoted

    def told(self, answer: Any) -> int | None:
        """Say which model gave an answer."""
        distances = {number: float(np.abs(answer - known).max()) for number, known in self.answers.items()}
        nearest = min(distances, key=lambda number: distances[number])
        return nearest if distances[nearest] < 1e-5 else None

    def ask(self, url: str) -> int | None:
        """Ask for an answer, and say which model gave it."""
        with urllib.request.urlopen(url + PATH, self.body, timeout=10) as response:
            return self.told(np.asarray(json.load(response)["predictions"][0]))


def _call(component: Any, **given: Any) -> Any:
    """Run a step's body with the pipeline's parameters."""
    names = inspect.signature(component.python_func).parameters.keys() - given.keys()
    return component.python_func(**{name: getattr(PARAMETERS, name) for name in names}, **given)
