"""Say what a namespace lacks before a run finds out, and how to mend it.

Each check is a value; the command line prints all of them as one table, and a step refuses on those that fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from hyperflow.engines.kubeflow import discovery
from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.resources import (
    ACCESS_REVIEW,
    CLAIM,
    CLUSTER_RUNTIME,
    DEPLOYMENT,
    EVENT,
    EXPERIMENT,
    NAMESPACE,
    POD,
    SERVICE,
    SERVING_RUNTIME,
    STORAGE_CLASS,
    SUGGESTION,
    TFJOB,
    TRIAL,
    WORKFLOW,
    Resource,
)
from hyperflow.errors import Unavailable
from hyperflow.specs import ServeSpec, TrainSpec, TuneSpec

Status = Literal["ok", "warn", "fail"]

COLLECTOR_LABEL = "katib.kubeflow.org/metrics-collector-injection"

VERBS: dict[Resource, tuple[str, ...]] = {
    EXPERIMENT: ("get", "list", "watch", "create", "delete"),
    SUGGESTION: ("get",),
    TRIAL: ("list",),
    TFJOB: ("get", "list", "watch", "create", "delete"),
    SERVICE: ("get", "list", "watch", "create", "update", "delete"),
    SERVING_RUNTIME: ("get",),
    DEPLOYMENT: ("list", "watch"),
    WORKFLOW: ("get",),
    POD: ("get", "list", "watch"),
    EVENT: ("list",),
    CLAIM: ("get",),
    NAMESPACE: ("get",),
}
"""What the engine does to objects of the namespace: no more, no less. Logs are pods/log, get."""

_PATIENCE = 15.0
"""Seconds for an API server to answer somebody who only wants to know whether it does."""

_CONTROLLERS = (
    ("Katib", "kubeflow", "katib-controller", (EXPERIMENT, SUGGESTION, TRIAL), "install Katib 0.16 or newer"),
    (
        "Training Operator",
        "kubeflow",
        "training-operator",
        (TFJOB,),
        "install the Training Operator 1.8 or 1.9 (not v2)",
    ),
    ("KServe", "kserve", "kserve-controller-manager", (SERVICE, SERVING_RUNTIME), "install KServe 0.15 or newer"),
    ("Kubeflow Pipelines", "kubeflow", "ml-pipeline", (WORKFLOW,), "install Kubeflow Pipelines 2.4 or newer"),
)


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Args:
        name: What.
        status: Whether a run can do with it.
        found: What is there.
        remedy: The command, or the YAML, that mends it; empty where nothing needs mending.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""


def require(checks: Iterable[Check]) -> None:
    """Refuse to go on where a check has failed.

    Raises:
        Unavailable: Names each failed check and its remedy.
    """
    failed = [check for check in checks if check.status == "fail"]
    if failed:
        why = "\n".join(f"{check.name}: {check.found}" for check in failed)
        raise Unavailable("this cluster is not ready for the step", why, "\n".join(check.remedy for check in failed))


def for_tuning(cluster: Cluster, spec: TuneSpec) -> Iterator[Check]:
    """Check what a search would hang or fail without."""
    yield collector_label(cluster)
    yield claim(cluster, spec.claim, spec.parallel_trials * spec.workers + 1)


def for_training(cluster: Cluster, spec: TrainSpec) -> Iterator[Check]:
    """Check what a training would hang or fail without."""
    yield claim(cluster, spec.claim, spec.workers + spec.parameter_servers + int(spec.evaluator) + 1)


def for_serving(cluster: Cluster, spec: ServeSpec) -> Iterator[Check]:
    """Check what a service would hang or fail without."""
    yield runtime(cluster, spec.runtime)
    yield claim(cluster, spec.claim, spec.max_replicas + 1)


def survey(cluster: Cluster, tune: TuneSpec, serve: ServeSpec) -> list[Check]:
    """Check everything that a whole run needs; the checks after an unreachable API server are left out."""
    cluster = Cluster(cluster.namespace, min(cluster.patience, _PATIENCE))
    try:
        checks = [_server(cluster)]
    except Unavailable as error:
        return [Check("API server", "fail", error.why, error.remedy)]
    for name, namespace, deployment, resources, remedy in _CONTROLLERS:
        checks.append(_controller(cluster, name, namespace, deployment, resources, remedy))
    checks += _permissions(cluster)
    checks.append(collector_label(cluster))
    pods = max(tune.parallel_trials * tune.workers, serve.max_replicas) + 1
    checks.append(claim(cluster, tune.claim, pods))
    checks.append(runtime(cluster, serve.runtime))
    checks.append(_mesh(cluster))
    return checks


def collector_label(cluster: Cluster) -> Check:
    """Check the label without which Katib injects no collector, and every trial runs for ever."""
    name = cluster.namespace
    command = f"kubectl label namespace {name} {COLLECTOR_LABEL}=enabled --overwrite"
    namespace, refusal = _read(cluster, NAMESPACE, name)
    if refusal:
        return Check("metrics collector", "warn", refusal, f"see to it that somebody has run: {command}")
    value = _labels(namespace).get(COLLECTOR_LABEL)
    if value != "enabled":
        found = f"namespace {name} has {COLLECTOR_LABEL}={value}" if value else f"namespace {name} lacks its label"
        return Check("metrics collector", "fail", f"{found}: trials would never finish", command)
    return Check("metrics collector", "ok", f"injected in {name}")


def claim(cluster: Cluster, name: str, pods: int) -> Check:
    """Check that the claim is there and can be mounted by as many pods as will."""
    title = f"volume claim {name}"
    remedy = "kubectl apply -k manifests/overlays/standard (or knative), or give the parameter claim"
    found, refusal = _read(cluster, CLAIM, name)
    if refusal:
        return Check(title, "warn", refusal, "apply manifests/ to the namespace")
    if found is None:
        return Check(title, "fail", f"there is none in {cluster.namespace}", remedy)
    modes = found["spec"].get("accessModes", [])
    if "ReadWriteMany" not in modes and pods > 1:
        why = f"access mode {', '.join(modes)}, for up to {pods} pods at once"
        mend = "make a claim with ReadWriteMany and a storage class that has it (NFS, CephFS, EFS, Filestore)"
        status: Status = "fail" if "ReadWriteOncePod" in modes else "warn"
        return Check(title, status, f"{why}: they must all be on one node", mend)
    phase = found.get("status", {}).get("phase", "Pending")
    return _unbound(cluster, title, found) if phase != "Bound" else Check(title, "ok", f"bound, {', '.join(modes)}")


def runtime(cluster: Cluster, name: str) -> Check:
    """Check that the serving runtime is there."""
    title = f"serving runtime {name}"
    resource, runtime_name, remedy = {
        "hyperflow": (SERVING_RUNTIME, "hyperflow", "kubectl apply -k manifests/overlays/standard (or knative)"),
        "tensorflow": (CLUSTER_RUNTIME, "kserve-tensorflow-serving", "install KServe's cluster resources"),
    }[name]
    found, refusal = _read(cluster, resource, runtime_name)
    if refusal:
        return Check(title, "warn", refusal)
    if found is None:
        return Check(title, "fail", f"there is no {resource.kind} {runtime_name}", remedy)
    if found["spec"].get("disabled"):
        return Check(title, "fail", f"{resource.kind} {runtime_name} is disabled", "set its spec.disabled to false")
    return Check(title, "ok", f"{resource.kind} {runtime_name}")


def _server(cluster: Cluster) -> Check:
    version = cluster.request("GET", "/version")
    return Check("API server", "ok", f"Kubernetes {version.get('gitVersion', '?')}, namespace {cluster.namespace}")


def _controller(
    cluster: Cluster, name: str, namespace: str, deployment: str, resources: tuple[Resource, ...], remedy: str
) -> Check:
    """Check that the API server has a component's kinds, and tell the component's version if we may see it."""
    missing = [item.plural for item in resources if item.plural not in discovery.kinds(cluster, item)]
    served = ", ".join(sorted({f"{item.group}/{item.version}" for item in resources}))
    if missing:
        return Check(name, "fail", f"the API server has no {', '.join(missing)} in {served}", remedy)
    versions = [served]
    if resources[0] is SERVICE:
        major, minor = discovery.kserve_version(cluster)
        versions.append(f"version {major}.{minor} or newer by its schema")
    item, refusal = _read(cluster, DEPLOYMENT, deployment, namespace)
    if item is not None and not refusal:
        images = [container["image"] for container in item["spec"]["template"]["spec"]["containers"]]
        versions.append(f"image {images[0].rsplit('/', 1)[-1]}")
        if not item.get("status", {}).get("availableReplicas"):
            mend = f"kubectl -n {namespace} describe deployment {deployment}"
            return Check(name, "fail", f"{deployment} in {namespace} has no replica that runs", mend)
    return Check(name, "ok", "; ".join(versions))


def _permissions(cluster: Cluster) -> list[Check]:
    """Ask the API server about each verb, and name what is missing by resource."""
    checks = []
    wanted = [(item, item.plural, "", verbs) for item, verbs in VERBS.items()]
    for resource, plural, subresource, verbs in [*wanted, (POD, "pods", "log", ("get",))]:
        name = f"{plural}/{subresource}" if subresource else plural
        denied = [verb for verb in verbs if not _allowed(cluster, resource, subresource, verb)]
        if denied:
            remedy = (
                "kubectl apply -k manifests/overlays/standard, or add to a Role of the step's service account: "
                f'{{apiGroups: ["{resource.group}"], resources: [{name}], verbs: [{", ".join(denied)}]}}'
            )
            checks.append(Check(f"permission {name}", "fail", f"may not {', '.join(denied)}", remedy))
    return checks or [Check("permissions", "ok", "all that a run needs")]


def _allowed(cluster: Cluster, resource: Resource, subresource: str, verb: str) -> bool:
    attributes = {
        "namespace": cluster.namespace,
        "verb": verb,
        "group": resource.group,
        "resource": resource.plural,
        "subresource": subresource,
    }
    if resource is NAMESPACE:
        attributes["name"] = cluster.namespace
    review: Manifest = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": ACCESS_REVIEW.kind,
        "spec": {"resourceAttributes": attributes},
    }
    answer = cluster.create(ACCESS_REVIEW, review)
    return bool(answer.get("status", {}).get("allowed"))


def _unbound(cluster: Cluster, title: str, found: Manifest) -> Check:
    """Tell a claim that waits for its first pod from one that nothing will ever bind."""
    name = found["spec"].get("storageClassName")
    command = f"kubectl -n {cluster.namespace} describe pvc {found['metadata']['name']}"
    if not name:
        return Check(title, "fail", "not bound, and it names no storage class", f"name one (kubectl get sc); {command}")
    storage, refusal = _read(cluster, STORAGE_CLASS, name)
    if refusal:
        return Check(title, "warn", f"not bound; {refusal}", command)
    if storage is None:
        return Check(title, "fail", f"not bound: there is no storage class {name}", f"kubectl get sc; {command}")
    if storage.get("volumeBindingMode") == "WaitForFirstConsumer":
        return Check(title, "ok", f"will be bound by its first pod ({name})")
    return Check(title, "fail", f"not bound, although storage class {name} is there", command)


def _mesh(cluster: Cluster) -> Check:
    """Tell whether pods of the namespace are in an Istio mesh."""
    namespace, refusal = _read(cluster, NAMESPACE, cluster.namespace)
    labels = _labels(namespace)
    sidecars = labels.get("istio-injection") == "enabled" or "istio.io/rev" in labels
    ambient = labels.get("istio.io/dataplane-mode") == "ambient"
    if refusal or not (sidecars or ambient):
        return Check("mesh", "ok", refusal or "none in this namespace")
    policy = "kubectl apply -k manifests/components/mesh, so that steps may call the predictor"
    return Check("mesh", "warn", f"Istio, {'ambient' if ambient else 'with sidecars'}", policy)


def _read(cluster: Cluster, resource: Resource, name: str, namespace: str = "") -> tuple[Manifest | None, str]:
    """Read an object; the second part says why we could not, where we may not."""
    try:
        return cluster.get(resource, name, namespace), ""
    except ApiError as error:
        if error.status != 403:
            raise
        return None, f"{resource.plural} cannot be read with these rights"


def _labels(item: Manifest | None) -> dict[str, str]:
    return dict((item or {}).get("metadata", {}).get("labels", {}))


Runner = Callable[[Cluster, TuneSpec, ServeSpec], list[Check]]
