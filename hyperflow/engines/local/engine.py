"""The engine for one machine; what each verb does is in the module of its name."""

from __future__ import annotations

import getpass
import shlex
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

from hyperflow import progress, volume
from hyperflow.engines import search
from hyperflow.engines.base import Engine
from hyperflow.engines.local import approval, processes, surroundings
from hyperflow.engines.local.services import Services
from hyperflow.engines.local.training import Training
from hyperflow.engines.local.trials import Processes
from hyperflow.engines.search.samplers import SAMPLERS
from hyperflow.specs import (
    Answer,
    Description,
    Endpoint,
    Question,
    ServeSpec,
    Trainer,
    TrainResult,
    TrainSpec,
    TuneResult,
    TuneSpec,
)
from hyperflow.volume import approvals, paths


class LocalEngine(Engine):
    """Tune, train and serve as processes of this machine; the contract is the base's."""

    name = "local"
    limits = MappingProxyType(
        {
            "tune.algorithm.name": tuple(SAMPLERS),
            "tune.workers": (1,),
            "train.parameter_servers": (0,),
            "train.evaluator": (False,),
            "serve.runtime": ("hyperflow",),
            "serve.min_replicas": (1,),
            "serve.canary_percent": (100,),
        }
    )

    def __init__(self, tell: progress.Tell = progress.to_stdout) -> None:
        super().__init__(tell)
        self.services = Services(paths.services())

    def _judge(self, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> None:
        search.check(tune)

    def _check(self, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> None:
        surroundings.check(tune, train)
        with volume.writable(volume.root()):
            volume.root().mkdir(parents=True, exist_ok=True)
        self.services.check_port(serve)

    def _tune(self, spec: TuneSpec) -> TuneResult:
        search.check(spec)
        folder = paths.tuning(spec.run_id)
        with volume.writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return search.Search(spec, folder, self.tell, Processes(spec, folder)).run()

    def _train(self, spec: TrainSpec) -> TrainResult:
        return Training(spec, paths.training(spec.run_id), self.tell).run()

    def _serve(self, spec: ServeSpec) -> Endpoint:
        return self.services.stage(spec)

    def describe(self, trainer: Trainer) -> Description | None:
        return surroundings.describe(trainer)

    def uri(self, spec: ServeSpec) -> str:
        return Path(spec.model.path).as_uri()

    def promote(self, name: str) -> Endpoint:
        return self.services.promote(name)

    def restore(self, name: str) -> Endpoint:
        return self.services.restore(name)

    def deployed(self, name: str) -> Endpoint | None:
        return self.services.deployed(name)

    def serving(self, name: str) -> Endpoint | None:
        return self.services.serving(name)

    def _ask(self, question: Question) -> Answer | None:
        approvals.say(question, approvals.ways(question, shlex.join(["--folder", str(volume.root())])))
        return approval.wait(question)

    def answer(self, run_id: str, answer: Answer) -> None:
        approval.answer(run_id, answer)

    def asked(self) -> list[Question]:
        return approval.open_questions()

    def person(self) -> str:
        return getpass.getuser()

    def reap(self) -> list[str]:
        """Return nothing: a process of ours ends with its run, whatever ends that (see `guard`)."""
        return []

    def launcher(self) -> AbstractContextManager[None]:
        """Have TensorFlow imported once for all that is started while the block runs."""
        return processes.launcher()

    def fault(self, name: str) -> str:
        """Say why the first deployment of a service failed, or nothing where it did not."""
        failed = self.services.read(name).failed
        return f"its first deployment failed: {failed.reason}; the log is {failed.log}" if failed else ""

    def stop(self, name: str = "", run_id: str = "") -> list[str]:
        """End services that were left running; return the names of those that ran.

        Args:
            name: The service; all of this volume if none is named.
            run_id: The run to end: only what may not outlive it; without one, whatever runs.
        """
        return [each for each in ([name] if name else self.services.names()) if self.services.stop(each, run_id)]


def create(tell: progress.Tell = progress.to_stdout) -> LocalEngine:
    """Make the engine."""
    return LocalEngine(tell)
