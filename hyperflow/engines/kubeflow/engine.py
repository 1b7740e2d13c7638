"""The engine for a Kubeflow cluster; what each verb does is in the module of its name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from hyperflow import progress, volume
from hyperflow.engines.base import Engine
from hyperflow.engines.kubeflow import approval, backends, evidence, manifests, preflight, tuners
from hyperflow.engines.kubeflow.backends import Backend
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.manifests import KServe, work
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.manifests.work import require_image
from hyperflow.engines.kubeflow.preflight import Check
from hyperflow.engines.kubeflow.reap import reap
from hyperflow.engines.kubeflow.serving import Serving
from hyperflow.engines.kubeflow.starting import ACT_SECONDS, START_SECONDS
from hyperflow.engines.kubeflow.training import Training
from hyperflow.engines.kubeflow.tuning import Tuning
from hyperflow.errors import InvalidParameter
from hyperflow.specs import Answer, Endpoint, Question, ServeSpec, TrainResult, TrainSpec, TuneResult, TuneSpec, Value
from hyperflow.specs.trainer import uses_no_gpu
from hyperflow.volume import approvals, paths


class KubeflowEngine(Engine):
    """Tune with Katib or our own search, train with what there is, serve with KServe; the contract is the base's.

    Args:
        tell: Told of every step forward.
        cluster: Where to work; by default where this pod, or the kubeconfig, is.
        grace: Seconds that a model has to get over a failure to load; a first crash may pass.
        act_seconds: Seconds that a controller has to act on a new object.
        start_seconds: Seconds for which a pod that cannot start is borne; a registry that is down may come back.
    """

    name = "kubeflow"

    def __init__(
        self,
        tell: progress.Tell = progress.to_stdout,
        cluster: Cluster | None = None,
        grace: float = 30.0,
        act_seconds: float = ACT_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        super().__init__(tell)
        self._given, self._grace = cluster, grace
        self._act_seconds, self._start_seconds = act_seconds, start_seconds

    @cached_property
    def cluster(self) -> Cluster:
        """The namespace that this engine works in."""
        return self._given or Cluster()

    def survey(self, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> list[Check]:
        """Look at everything that a run with these specs needs of the namespace; each check is a value to show."""
        return preflight.survey(self.cluster, tune, train, serve)

    @staticmethod
    def render(tune: TuneSpec, train: TrainSpec, serve: ServeSpec, kserve: KServe) -> list[Manifest]:
        """Return the objects that these specs become, without asking any cluster: `auto` is Katib's and TFJob's.

        Our own search makes as many jobs as trials; the first stands for them, with the training's hyper-parameters.

        Raises:
            InvalidParameter: This KServe would pass something over in silence.
        """
        return [*_searching(tune, train.parameters), *_training(train), manifests.inference_service(serve, kserve)]

    @property
    def _services(self) -> Serving:
        return Serving(self.cluster, self.tell, self._grace, self._act_seconds)

    def _judge(self, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> None:
        require_image(tune.trainer, tune.compute)
        tuners.judge(tune)
        if serve.compute.gpus and serve.runtime == "hyperflow" and uses_no_gpu(serve.image):
            allowed = f"0 with the image {serve.image}, whose TensorFlow uses none; or give another serving_image"
            raise InvalidParameter("serving_gpus", serve.compute.gpus, allowed)

    def _check(self, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> None:
        preflight.require(self.survey(tune, train, serve))

    def _tune(self, spec: TuneSpec) -> TuneResult:
        choice = tuners.choose(self.cluster, spec)
        preflight.require(preflight.for_tuning(self.cluster, spec, choice.tuner))
        print(choice, flush=True)
        with evidence.kept(spec.run_id, "tune"):
            if choice.tuner == "katib":
                return Tuning(self.cluster, spec, self.tell, self._act_seconds, self._start_seconds).run()
            return self._search(spec, choice.backend)

    def _train(self, spec: TrainSpec) -> TrainResult:
        choice = backends.choose(self.cluster, spec)
        preflight.require(preflight.for_training(self.cluster, spec, choice.backend))
        print(choice, flush=True)
        with evidence.kept(spec.run_id, "train"):
            limits = self._act_seconds, self._start_seconds
            return Training(self.cluster, spec, self.tell, *limits, choice.backend).run()

    def _search(self, spec: TuneSpec, backend: Backend) -> TuneResult:
        """Search in this step, with a job for each trial; the import is long, and only who searches so waits for it."""
        from hyperflow.engines.kubeflow.trial_jobs import TrialJobs
        from hyperflow.engines.search import Search

        folder = paths.tuning(spec.run_id)
        with volume.writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
        trials = TrialJobs(self.cluster, spec, folder, backend, self._act_seconds, self._start_seconds)
        return Search(spec, folder, self.tell, trials).run()

    def _serve(self, spec: ServeSpec) -> Endpoint:
        preflight.require(preflight.for_serving(self.cluster, spec))
        if log := paths.payloads(spec.log_payloads):  # the kubelet would make it as root's
            with volume.writable(log):
                log.mkdir(parents=True, exist_ok=True)
        with evidence.kept(spec.run_id, "deploy"):
            return self._services.serve(spec)

    def uri(self, spec: ServeSpec) -> str:
        return manifests.storage_uri(spec)

    def promote(self, name: str) -> Endpoint:
        return self._services.promote(name)

    def restore(self, name: str) -> Endpoint:
        return self._services.restore(name)

    def deployed(self, name: str) -> Endpoint | None:
        return self._services.deployed(name)

    def serving(self, name: str) -> Endpoint | None:
        return self._services.serving(name)

    def _ask(self, question: Question) -> Answer | None:
        ways = approvals.ways(question, f"--namespace {self.cluster.namespace}")
        approvals.say(question, [*ways, "In KFP's UI the misread images are on the page of the step train"])
        return approval.wait(self.cluster, question)

    def answer(self, run_id: str, answer: Answer) -> None:
        approval.answer(self.cluster, run_id, answer)

    def asked(self) -> list[Question]:
        return approval.open_questions(self.cluster)

    def person(self) -> str:
        return approval.person(self.cluster)

    def reap(self) -> list[str]:
        return reap(self.cluster)


def _searching(spec: TuneSpec, parameters: Mapping[str, Value]) -> list[Manifest]:
    if spec.tuner != "job":
        return [manifests.experiment(spec)]
    name = "job" if spec.workers == 1 else spec.training_backend
    return backends.objects(name, work.trial(spec, 0, parameters))


def _training(spec: TrainSpec) -> list[Manifest]:
    return backends.objects(spec.training_backend, work.training(spec))


def create(tell: progress.Tell = progress.to_stdout, namespace: str = "") -> KubeflowEngine:
    """Make the engine, for the namespace of this pod or kubeconfig if none is named."""
    return KubeflowEngine(tell, Cluster(namespace) if namespace else None)
