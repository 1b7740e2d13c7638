"""The engine for a Kubeflow cluster; what each verb does is in the module of its name."""

from __future__ import annotations

from functools import cached_property

from hyperflow import progress
from hyperflow.engines.base import Engine
from hyperflow.engines.kubeflow import preflight
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.reap import reap
from hyperflow.engines.kubeflow.serving import Serving
from hyperflow.engines.kubeflow.training import Training
from hyperflow.engines.kubeflow.tuning import Tuning
from hyperflow.specs import Endpoint, ServeSpec, TrainResult, TrainSpec, TuneResult, TuneSpec


class KubeflowEngine(Engine):
    """Tune with Katib, train with a TFJob, serve with KServe; the contract is the base's.

    Args:
        report: Told of every step forward.
        cluster: Where to work; by default where this pod, or the kubeconfig, is.
        grace: Seconds that a model has to get over a failure to load; a first crash may pass.
    """

    def __init__(
        self, report: progress.Report = progress.to_stdout, cluster: Cluster | None = None, grace: float = 30.0
    ) -> None:
        super().__init__(report)
        self._given, self._grace = cluster, grace

    @cached_property
    def cluster(self) -> Cluster:
        """The namespace that this engine works in."""
        return self._given or Cluster()

    @property
    def _services(self) -> Serving:
        return Serving(self.cluster, self.report, self._grace)

    def check(self, tune: TuneSpec, serve: ServeSpec) -> None:
        preflight.require(preflight.survey(self.cluster, tune, serve))

    def tune(self, spec: TuneSpec) -> TuneResult:
        preflight.require(preflight.for_tuning(self.cluster, spec))
        return Tuning(self.cluster, spec, self.report).run()

    def train(self, spec: TrainSpec) -> TrainResult:
        preflight.require(preflight.for_training(self.cluster, spec))
        return Training(self.cluster, spec, self.report).run()

    def serve(self, spec: ServeSpec) -> Endpoint:
        preflight.require(preflight.for_serving(self.cluster, spec))
        return self._services.serve(spec)

    def promote(self, name: str) -> Endpoint:
        return self._services.promote(name)

    def restore(self, name: str) -> Endpoint:
        return self._services.restore(name)

    def deployed(self, name: str) -> Endpoint | None:
        return self._services.deployed(name)

    def serving(self, name: str) -> Endpoint | None:
        return self._services.serving(name)

    def reap(self) -> list[str]:
        return reap(self.cluster)


def create(report: progress.Report = progress.to_stdout) -> KubeflowEngine:
    """Make the engine."""
    return KubeflowEngine(report)
