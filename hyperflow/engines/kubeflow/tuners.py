"""What searches: Katib where it is alive, else our own search in the step, whose trials are jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hyperflow.engines.kubeflow import backends, discovery, probes
from hyperflow.engines.kubeflow.backends import JOBS, TFJOBS, Backend
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.jobs import belongs_to
from hyperflow.engines.kubeflow.manifests import searchable
from hyperflow.engines.kubeflow.resources import EXPERIMENT
from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.specs import TuneSpec
from hyperflow.volume import paths


@dataclass(frozen=True)
class Choice:
    """What searches, with what each trial is made, and why."""

    tuner: Literal["katib", "job"]
    backend: Backend
    reason: str

    def __str__(self) -> str:
        if self.tuner == "katib":
            return f"Katib searches: {self.reason}"
        return f"the step searches, with a {self.backend.resource.kind} for each trial: {self.reason}"


def judge(spec: TuneSpec) -> None:
    """Refuse, without a cluster, a search that none of those which may be chosen can carry through.

    Raises:
        InvalidParameter: What neither has, or the one that was asked for has not.
    """
    if spec.tuner == "job":
        _check_own(spec)
        return
    try:
        searchable.check(spec)
    except InvalidParameter:
        if spec.tuner == "katib" or _own_refuses(spec):
            raise


def choose(cluster: Cluster, spec: TuneSpec) -> Choice:
    """Choose what searches, and refuse what it could not do.

    Raises:
        InvalidParameter: It has not got what the spec asks for.
        Unavailable: Its controller is not there.
    """
    if spec.tuner == "job":
        return _own(cluster, spec, "tuner is job")
    if spec.tuner == "katib":
        return _katib(cluster, spec)
    return _found(cluster, spec)


def _katib(cluster: Cluster, spec: TuneSpec) -> Choice:
    if not _is_served(cluster):
        raise Unavailable(
            "tuner is katib, and this cluster has none", f"the API server has no {EXPERIMENT.plural}",
            "install Katib, or set tuner=job, which needs no controller",
        )  # fmt: skip
    searchable.check(spec)
    unfit = _unfit(cluster, spec)
    if unfit:
        raise InvalidParameter("trial_workers", spec.workers, f"1, or tuner=job: {unfit}")
    return Choice("katib", JOBS if spec.workers == 1 else TFJOBS, "tuner is katib")


def _found(cluster: Cluster, spec: TuneSpec) -> Choice:
    """Look what an earlier attempt has begun, then what is alive."""
    if paths.study(spec.run_id).exists():
        return _own(cluster, spec, "an earlier attempt has begun so")
    if not _is_served(cluster):
        return _own(cluster, spec, "the API server has no Experiments")
    unfit = _unfit(cluster, spec)
    katib = Choice("katib", JOBS if spec.workers == 1 else TFJOBS, "an earlier attempt has begun so")
    if belongs_to(cluster, EXPERIMENT, spec):
        return katib
    sign = probes.sign_of_life(cluster, EXPERIMENT)
    if sign.alive and not unfit:
        return Choice("katib", katib.backend, sign.text)
    return _own(cluster, spec, unfit if sign.alive else sign.text)


def _unfit(cluster: Cluster, spec: TuneSpec) -> str:
    """Say why Katib could not search so, or not make these trials; nothing where it could."""
    try:
        searchable.check(spec)
    except InvalidParameter as error:
        return f"Katib cannot have {error.name}={error.value!r}"
    if spec.workers == 1:
        return ""
    if spec.training_backend not in ("auto", TFJOBS.name):
        return f"Katib makes trials of several processes as TFJobs, and training_backend is {spec.training_backend}"
    if TFJOBS.resource.plural not in discovery.kinds(cluster, TFJOBS.resource):
        return "Katib makes trials of several processes as TFJobs, and the API server has none"
    return ""


def _check_own(spec: TuneSpec) -> None:
    """Refuse what our own search has not got; its import is long, and only who searches so has to wait for it."""
    from hyperflow.engines import search

    search.check(spec)


def _own_refuses(spec: TuneSpec) -> bool:
    try:
        _check_own(spec)
    except InvalidParameter:
        return True
    return False


def _own(cluster: Cluster, spec: TuneSpec, reason: str) -> Choice:
    _check_own(spec)
    if spec.workers > 1:
        chosen = backends.choose(cluster, spec)
        return Choice("job", chosen.backend, f"{reason}; {chosen.reason}")
    backends.refuse(cluster, backends.Choice(JOBS, reason), spec)
    return Choice("job", JOBS, reason)


def _is_served(cluster: Cluster) -> bool:
    return EXPERIMENT.plural in discovery.kinds(cluster, EXPERIMENT)
