"""What to look at before a step, and before a whole run."""

from __future__ import annotations

from collections.abc import Iterator

from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.preflight.check import Check
from hyperflow.engines.kubeflow.preflight.components import COMPONENTS, component, server
from hyperflow.engines.kubeflow.preflight.knative import features
from hyperflow.engines.kubeflow.preflight.namespace import collector_label, pod_security
from hyperflow.engines.kubeflow.preflight.retries import retried_steps
from hyperflow.engines.kubeflow.preflight.rights import permissions
from hyperflow.engines.kubeflow.preflight.serving import local_gateway, mesh, runtime
from hyperflow.engines.kubeflow.preflight.storage import claim
from hyperflow.errors import Unavailable
from hyperflow.specs import ServeSpec, TrainSpec, TuneSpec

_PATIENCE = 15.0
"""Seconds for an API server to answer somebody who only wants to know whether it does."""


def for_tuning(cluster: Cluster, spec: TuneSpec) -> Iterator[Check]:
    """Check what a search would hang or fail without."""
    yield collector_label(cluster)
    yield claim(cluster, spec.claim, _trial_pods(spec) + 1)


def for_training(cluster: Cluster, spec: TrainSpec) -> Iterator[Check]:
    """Check what a training would hang or fail without."""
    yield claim(cluster, spec.claim, _training_pods(spec) + 1)


def for_serving(cluster: Cluster, spec: ServeSpec) -> Iterator[Check]:
    """Check what a service would hang or fail without."""
    yield runtime(cluster, spec.runtime)
    yield features(cluster, spec)
    yield claim(cluster, spec.claim, spec.max_replicas + 1)


def survey(cluster: Cluster, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> list[Check]:
    """Check everything that a whole run needs; the checks after an unreachable API server are left out."""
    cluster = Cluster(cluster.namespace, min(cluster.patience, _PATIENCE))
    try:
        checks = [server(cluster)]
    except Unavailable as error:
        return [Check("API server", "fail", error.why, error.remedy)]
    checks += [component(cluster, part) for part in COMPONENTS]
    checks += permissions(cluster)
    pods = max(_trial_pods(tune), _training_pods(train), serve.max_replicas) + 1
    return [
        *checks,
        collector_label(cluster),
        pod_security(cluster, tune),
        claim(cluster, tune.claim, pods),
        runtime(cluster, serve.runtime),
        features(cluster, serve),
        mesh(cluster),
        local_gateway(cluster),
        retried_steps(cluster),
    ]


def _trial_pods(spec: TuneSpec) -> int:
    return spec.parallel_trials * spec.workers


def _training_pods(spec: TrainSpec) -> int:
    return spec.workers + spec.parameter_servers + int(spec.evaluator)
