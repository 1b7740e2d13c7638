"""The engine for one machine: processes in the place of pods, Optuna in Katib's, the same promises."""

from __future__ import annotations

from hyperflow import progress, volume
from hyperflow.engines.base import Engine
from hyperflow.engines.local.search import Search
from hyperflow.engines.local.services import Services
from hyperflow.engines.local.training import Training
from hyperflow.specs import Endpoint, ServeSpec, TrainResult, TrainSpec, TuneResult, TuneSpec
from hyperflow.volume import paths

__all__ = ["LocalEngine", "create"]


class LocalEngine(Engine):
    """Tune, train and serve as processes of this machine; the contract is the base's."""

    def __init__(self, report: progress.Report = progress.to_stdout) -> None:
        super().__init__(report)
        self.services = Services(paths.services())

    def check(self, tune: TuneSpec, serve: ServeSpec) -> None:
        with volume.writable(volume.root()):
            volume.root().mkdir(parents=True, exist_ok=True)
        self.services.check_port(serve)

    def tune(self, spec: TuneSpec) -> TuneResult:
        folder = paths.tuning(spec.run_id)
        with volume.writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return Search(spec, folder, self.report).run()

    def train(self, spec: TrainSpec) -> TrainResult:
        return Training(spec, paths.training(spec.run_id), self.report).run()

    def serve(self, spec: ServeSpec) -> Endpoint:
        return self.services.stage(spec)

    def promote(self, name: str) -> Endpoint:
        return self.services.promote(name)

    def restore(self, name: str) -> Endpoint:
        return self.services.restore(name)

    def deployed(self, name: str) -> Endpoint | None:
        return self.services.deployed(name)

    def serving(self, name: str) -> Endpoint | None:
        return self.services.serving(name)

    def reap(self) -> list[str]:
        """Return nothing: a process of ours ends with its run, whatever ends that (see `guard`)."""
        return []


def create(report: progress.Report = progress.to_stdout) -> LocalEngine:
    """Make the engine."""
    return LocalEngine(report)
