"""What can carry out a training: a TFJob, a TrainJob or a plain Job; one shape for what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hyperflow.engines.kubeflow import discovery, probes
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.jobs import belongs_to
from hyperflow.engines.kubeflow.manifests import job, trainjob
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.manifests.tfjob import CONTAINER, tfjob_of
from hyperflow.engines.kubeflow.manifests.work import Work
from hyperflow.engines.kubeflow.resources import JOB, TFJOB, TRAINJOB, Resource
from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.specs import TrainSpec, TuneSpec

KUEUE = "kueue.x-k8s.io"


@dataclass(frozen=True)
class Backend:
    """One way to have processes run together.

    Args:
        name: What the parameter `training_backend` calls it.
        resource: The kind of its objects.
        build: Makes the object.
        network: Makes the Service by which its pods find each other, where nobody else does.
        container: The trainer's container.
        name_label: The label of a pod with its object's name.
        leads: Tells the pod that saves the model.
        has_roles: Whether it has parameter servers and an evaluator.
        forgives: Whether a pod that a lost node took is made again without being counted.
        missing: What to do where its operator is not there.
    """

    name: str
    resource: Resource
    build: Callable[[Work], Manifest]
    network: Callable[[Work], Manifest] | None
    container: str
    name_label: str
    leads: Callable[[Manifest], bool]
    has_roles: bool
    forgives: bool
    missing: str

    def selector(self, name: str) -> str:
        """Return the label selector of an object's pods."""
        return f"{self.name_label}={name}"


@dataclass(frozen=True)
class Choice:
    """A backend, and why it is this one."""

    backend: Backend
    reason: str

    def __str__(self) -> str:
        return f"the training runs as a {self.backend.resource.kind}: {self.reason}"


def _is_master(pod: Manifest) -> bool:
    return bool(pod["metadata"].get("labels", {}).get("training.kubeflow.org/job-role") == "master")


def _is_first(pod: Manifest) -> bool:
    return bool(pod["metadata"].get("annotations", {}).get(job.INDEX_ANNOTATION) == "0")


TFJOBS = Backend(
    "tfjob", TFJOB, tfjob_of, None, CONTAINER, "training.kubeflow.org/job-name", _is_master,
    has_roles=True, forgives=False, missing="install the Training Operator 1.8 or 1.9",
)  # fmt: skip
TRAINJOBS = Backend(
    "trainjob", TRAINJOB, trainjob.trainjob, None, trainjob.CONTAINER, trainjob.NAME_LABEL, _is_first,
    has_roles=False, forgives=True, missing="install Kubeflow Trainer 2.2 or newer",
)  # fmt: skip
JOBS = Backend(
    "job", JOB, job.job, job.service, job.CONTAINER, job.NAME_LABEL, _is_first,
    has_roles=False, forgives=True, missing="",
)  # fmt: skip

BACKENDS = {backend.name: backend for backend in (TFJOBS, TRAINJOBS, JOBS)}
"""In the order in which `auto` looks for them."""


def objects(name: str, asked: Work) -> list[Manifest]:
    """Return all objects that a backend makes of some work; `auto` looks for TFJobs first."""
    backend = BACKENDS.get(name, TFJOBS)
    made = [backend.build(asked)]
    return [*made, backend.network(asked)] if backend.network and asked.workers > 1 else made


def choose(cluster: Cluster, spec: TrainSpec | TuneSpec) -> Choice:
    """Choose what carries out a training, or a trial of several workers, and refuse what it could not do.

    Whatever an earlier attempt of the step has chosen is chosen again.

    Raises:
        InvalidParameter: The backend has not got what the spec asks for.
        Unavailable: Its operator is not there.
    """
    choice = _choose(cluster, spec)
    refuse(cluster, choice, spec)
    return choice


def _choose(cluster: Cluster, spec: TrainSpec | TuneSpec) -> Choice:
    if spec.training_backend != "auto":
        backend = BACKENDS[spec.training_backend]
        if not _is_served(cluster, backend):
            why = f"the API server has no {backend.resource.plural} in {backend.resource.api}"
            raise Unavailable(
                f"training_backend is {backend.name}, and this cluster has none", why,
                f"{backend.missing}, or set training_backend=job, which needs no operator",
            )  # fmt: skip
        if backend is TRAINJOBS and not (sign := probes.sign_of_life(cluster, backend.resource)).alive:
            raise Unavailable(
                "training_backend is trainjob, and no Kubeflow Trainer that we know acts on TrainJobs", sign.text,
                f"{backend.missing}, or set training_backend=job, which needs no operator",
            )  # fmt: skip
        return Choice(backend, f"training_backend is {backend.name}")
    served = [backend for backend in BACKENDS.values() if _is_served(cluster, backend)]
    earlier = next((backend for backend in served if belongs_to(cluster, backend.resource, spec)), None)
    if earlier is not None:
        return Choice(earlier, f"an earlier attempt made {earlier.resource.kind} {spec.name}")
    found = []
    for backend in served:
        if backend is JOBS:
            break
        sign = probes.sign_of_life(cluster, backend.resource)
        if sign.alive:
            return Choice(backend, sign.text)
        found.append(sign.text)
    return Choice(JOBS, "; ".join(found) or "the API server has neither TFJobs nor TrainJobs")


def _is_served(cluster: Cluster, backend: Backend) -> bool:
    return backend.resource.plural in discovery.kinds(cluster, backend.resource)


def refuse(cluster: Cluster, choice: Choice, spec: TrainSpec | TuneSpec) -> None:
    """Refuse what a backend, or the cluster for it, has not got.

    Raises:
        InvalidParameter: The parameter, and what would do.
    """
    backend, compute = choice.backend, spec.compute
    if isinstance(spec, TrainSpec) and not backend.has_roles:
        allowed = f"{{}}: a {backend.resource.kind} has none ({choice.reason}), and training_backend tfjob has"
        if spec.parameter_servers:
            raise InvalidParameter("parameter_servers", spec.parameter_servers, allowed.format(0))
        if spec.evaluator:
            raise InvalidParameter("evaluator", True, allowed.format("false"))
    if backend is TFJOBS:
        return
    if backend is TRAINJOBS and compute.priority_class:
        raise InvalidParameter(
            "priority_class", compute.priority_class, "nothing: a TrainJob cannot say it; training_backend job can"
        )
    if compute.queue and KUEUE not in discovery.groups(cluster):
        raise InvalidParameter(
            "queue", compute.queue, f"nothing: only Kueue queues a {backend.resource.kind}, and it is not installed"
        )
    if compute.gang and not compute.queue:
        raise InvalidParameter(
            "gang_scheduling", True,
            f"false, or a queue too: only Kueue starts the pods of a {backend.resource.kind} all at once",
        )  # fmt: skip
