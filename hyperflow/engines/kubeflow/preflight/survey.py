"""What to look at before a step, and before a whole run."""

from __future__ import annotations

from collections.abc import Iterator

from hyperflow.engines.kubeflow import backends, tuners
from hyperflow.engines.kubeflow.backends import BACKENDS, TRAINJOBS, Backend
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.manifests.trainjob import ONCE, RETRYING
from hyperflow.engines.kubeflow.preflight.check import Check, read
from hyperflow.engines.kubeflow.preflight.components import ALWAYS, KATIB, TRAINING, component, server
from hyperflow.engines.kubeflow.preflight.knative import features
from hyperflow.engines.kubeflow.preflight.namespace import collector_label, pod_security
from hyperflow.engines.kubeflow.preflight.quota import of_search, of_service, of_training, quota
from hyperflow.engines.kubeflow.preflight.retries import retried_steps
from hyperflow.engines.kubeflow.preflight.rights import permissions
from hyperflow.engines.kubeflow.preflight.serving import local_gateway, mesh, mode, runtime
from hyperflow.engines.kubeflow.preflight.storage import claim
from hyperflow.engines.kubeflow.resources import TRAINING_RUNTIME
from hyperflow.errors import HyperflowError, Unavailable
from hyperflow.specs import ServeSpec, TrainSpec, TuneSpec

_RUNTIMES = "kubectl apply -f manifests/components/trainer/training-runtimes.yaml"
_PATIENCE = 15.0
"""Seconds for an API server to answer somebody who only wants to know whether it does."""


def for_tuning(cluster: Cluster, spec: TuneSpec, tuner: str) -> Iterator[Check]:
    """Check what a search would hang or fail without."""
    if tuner == "katib":
        yield collector_label(cluster)
    yield claim(cluster, spec.claim, _trial_pods(spec) + 1)
    yield quota(cluster, [of_search(spec)])


def for_training(cluster: Cluster, spec: TrainSpec, backend: Backend) -> Iterator[Check]:
    """Check what a training would hang or fail without."""
    if backend is TRAINJOBS:
        yield training_runtime(cluster, spec)
    yield claim(cluster, spec.claim, _training_pods(spec) + 1)
    yield quota(cluster, [of_training(spec)])


def for_serving(cluster: Cluster, spec: ServeSpec) -> Iterator[Check]:
    """Check what a service would hang or fail without."""
    yield mode(cluster, spec)
    yield runtime(cluster, spec.runtime)
    yield features(cluster, spec)
    yield claim(cluster, spec.claim, spec.max_replicas + 1)
    yield quota(cluster, [of_service(spec)])


def survey(cluster: Cluster, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> list[Check]:
    """Check everything that a whole run needs; the checks after an unreachable API server are left out."""
    cluster = Cluster(cluster.namespace, min(cluster.patience, _PATIENCE))
    try:
        checks = [server(cluster)]
    except Unavailable as error:
        return [Check("API server", "fail", error.why, error.remedy)]
    katib, searching = _tuner(cluster, tune)
    backend, training = _backend(cluster, train)
    parts = [*([KATIB] if katib else []), *([TRAINING[backend]] if backend in TRAINING else []), *ALWAYS]
    checks += [searching, training, *(component(cluster, part) for part in parts)]
    checks += permissions(cluster)
    pods = max(_trial_pods(tune), _training_pods(train), serve.max_replicas) + 1
    return [
        *checks,
        *([collector_label(cluster), pod_security(cluster, tune)] if katib else []),
        *([training_runtime(cluster, train)] if backend is TRAINJOBS else []),
        claim(cluster, tune.claim, pods),
        quota(cluster, [of_search(tune), of_training(train), of_service(serve)]),
        mode(cluster, serve),
        runtime(cluster, serve.runtime),
        features(cluster, serve),
        mesh(cluster),
        local_gateway(cluster),
        retried_steps(cluster),
    ]


def training_runtime(cluster: Cluster, spec: TrainSpec) -> Check:
    """Check that the runtime which TrainJobs of ours name is there."""
    name = RETRYING if spec.retries else ONCE
    title = f"training runtime {name}"
    item, refusal = read(cluster, TRAINING_RUNTIME, name)
    if refusal:
        return Check(title, "warn", refusal)
    if item is None:
        return Check(title, "fail", f"there is no {TRAINING_RUNTIME.kind} {name}", _RUNTIMES)
    return Check(title, "ok", f"{TRAINING_RUNTIME.kind} {name}")


def _tuner(cluster: Cluster, spec: TuneSpec) -> tuple[bool, Check]:
    """Say what would search, and whether that is Katib."""
    try:
        choice = tuners.choose(cluster, spec)
    except HyperflowError as error:
        return spec.tuner == "katib", Check("tuner", "fail", _told(error), error.remedy)
    return choice.tuner == "katib", Check("tuner", "ok", str(choice))


def _backend(cluster: Cluster, spec: TrainSpec) -> tuple[Backend | None, Check]:
    """Say what would carry the training out."""
    try:
        choice = backends.choose(cluster, spec)
    except HyperflowError as error:
        asked = BACKENDS.get(spec.training_backend)
        return asked, Check("training backend", "fail", _told(error), error.remedy)
    return choice.backend, Check("training backend", "ok", str(choice))


def _told(error: HyperflowError) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what


def _trial_pods(spec: TuneSpec) -> int:
    return spec.parallel_trials * spec.workers


def _training_pods(spec: TrainSpec) -> int:
    return spec.workers + spec.parameter_servers + int(spec.evaluator)
