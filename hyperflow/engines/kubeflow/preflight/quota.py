"""Does the namespace's quota leave room for the pods of a run? One that it refuses is never made, and its job waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from kubernetes.utils import parse_quantity

from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.preflight.check import Check
from hyperflow.engines.kubeflow.resources import QUOTA
from hyperflow.specs import Compute, ServeSpec, TrainSpec, TuneSpec

_TITLE = "quota"
_COUNT = "pods"


@dataclass(frozen=True)
class Demand:
    """Pods of one kind that a step has made.

    Args:
        whose: Whose pods they are.
        compute: What each of them asks for.
        least: How many have to run at one time, as none gets on without the others.
        most: How many run at one time where there is room.
        together: The parameter that `least` comes from.
        beside: The parameter that `most` comes from.
        prefix: What begins the names of the parameters that `compute` comes from.
    """

    whose: str
    compute: Compute
    least: int
    most: int
    together: str
    beside: str
    prefix: str = ""

    def of_a_pod(self, tracked: str) -> tuple[str, str] | None:
        """Return what a pod asks for of what a quota tracks, and the parameter that says so; None for nothing.

        Args:
            tracked: `cpu`, `requests.cpu`, `limits.cpu` and so on, or `pods`.
        """
        compute, name = self.compute, tracked.removeprefix("requests.").removeprefix("limits.")
        if name == _COUNT:
            return "1", ""
        if name in ("cpu", "memory"):
            return getattr(compute, name), self.prefix + name
        return (str(compute.gpus), f"{self.prefix}gpus") if name == compute.gpu_resource and compute.gpus else None


def of_search(spec: TuneSpec) -> Demand:
    """Return what a search's trials ask for."""
    workers = spec.workers
    return Demand("a trial", spec.compute, workers, workers * spec.parallel_trials, "trial_workers", "parallel_trials")


def of_training(spec: TrainSpec) -> Demand:
    """Return what a training asks for; it gets on without its evaluator."""
    least = spec.workers + spec.parameter_servers
    return Demand("the training", spec.compute, least, least + int(spec.evaluator), "workers", "evaluator")


def of_service(spec: ServeSpec) -> Demand:
    """Return what a service asks for until it answers; more replicas come with more requests."""
    least = max(1, spec.min_replicas)
    return Demand("the service", spec.compute, least, least, "min_replicas", "min_replicas", "serving_")


def quota(cluster: Cluster, demands: Sequence[Demand]) -> Check:
    """Check that no quota of the namespace is smaller than what has to run at one time.

    What others use up now may come free, and trials may run one after another: those are warnings. A quota with
    scopes is passed over, as it is of some pods only.
    """
    try:
        items = cluster.list(QUOTA).get("items", [])
    except ApiError as error:
        if error.status != 403:
            raise
        return Check(_TITLE, "warn", f"{QUOTA.plural} cannot be read with these rights")
    judged = [item for item in items if not (item["spec"].get("scopes") or item["spec"].get("scopeSelector"))]
    if not judged:
        return Check(_TITLE, "ok", "none in this namespace" if not items else "none that is of all pods")
    found = [check for item in judged for demand in demands for check in _compare(item, demand)]
    failed = [check for check in found if check.status == "fail"]
    if not found:
        return Check(_TITLE, "ok", f"{', '.join(item['metadata']['name'] for item in judged)}: room for the run's pods")
    told = failed or found
    remedies = dict.fromkeys(check.remedy for check in told)
    return Check(_TITLE, told[0].status, "; ".join(check.found for check in told), "\n".join(remedies))


def _compare(item: Manifest, demand: Demand) -> Iterator[Check]:
    name, used = item["metadata"]["name"], item.get("status", {}).get("used", {})
    for tracked, limit in item["spec"].get("hard", {}).items():
        asked = demand.of_a_pod(tracked)
        if asked is None:
            continue
        (amount, parameter), now = asked, used.get(tracked, "0")
        each, room = parse_quantity(amount), parse_quantity(limit)
        each_has = "" if tracked == _COUNT else f" with {tracked}={amount} each"
        wanted = f"{demand.whose} needs {{}} at one time{each_has}, and {name} allows {tracked}={limit}"
        remedy = _remedy(item, parameter, demand.together)
        if each * demand.least > room:
            yield Check(_TITLE, "fail", wanted.format(_pods(demand.least)), remedy)
        elif each * demand.least > room - parse_quantity(now):
            taken = f"{wanted.format(_pods(demand.least))}, of which {now} is in use: it would wait"
            yield Check(_TITLE, "warn", taken, f"see who uses it (kubectl get pods), or {remedy}")
        elif each * demand.most > room:
            fit = _pods(_fitting(room, each, demand.least))
            fewer = _remedy(item, parameter, demand.beside)
            yield Check(_TITLE, "warn", f"{name} allows {tracked}={limit}: {fit} of {demand.most} at one time", fewer)


def _fitting(room: Decimal, each: Decimal, together: int) -> int:
    """Count the pods that fit, of which so many must run together."""
    return int(room / (each * together)) * together


def _remedy(item: Manifest, parameter: str, count: str) -> str:
    lower = f"{parameter} or {count}" if parameter else count
    metadata = item["metadata"]
    edit = f"kubectl -n {metadata['namespace']} edit resourcequota {metadata['name']}"
    return f"lower {lower}, or have the namespace's owner raise it: {edit}"


def _pods(count: int) -> str:
    return f"{count} pod" if count == 1 else f"{count} pods"
