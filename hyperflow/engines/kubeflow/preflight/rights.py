"""May the steps do what they have to?"""

from __future__ import annotations

from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.preflight.check import OVERLAY, Check
from hyperflow.engines.kubeflow.resources import (
    ACCESS_REVIEW,
    CLAIM,
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    EXPERIMENT,
    JOB,
    NAMESPACE,
    NETWORK,
    POD,
    QUOTA,
    SERVICE,
    SERVING_RUNTIME,
    SUGGESTION,
    TFJOB,
    TRAINING_RUNTIME,
    TRAINJOB,
    TRIAL,
    WORKFLOW,
    Resource,
)

VERBS: dict[Resource, tuple[str, ...]] = {
    EXPERIMENT: ("get", "list", "watch", "create", "delete"),
    SUGGESTION: ("get",),
    TRIAL: ("list",),
    TFJOB: ("get", "list", "watch", "create", "delete"),
    TRAINJOB: ("get", "list", "watch", "create", "delete"),
    TRAINING_RUNTIME: ("get",),
    JOB: ("get", "list", "watch", "create", "delete"),
    NETWORK: ("get", "create", "delete"),
    SERVICE: ("get", "list", "watch", "create", "update", "delete"),
    SERVING_RUNTIME: ("get",),
    DEPLOYMENT: ("list", "watch"),
    WORKFLOW: ("get",),
    POD: ("get", "list", "watch"),
    EVENT: ("list", "watch"),
    CLAIM: ("get",),
    CONFIG_MAP: ("get", "list", "watch", "create"),
    QUOTA: ("list",),
    NAMESPACE: ("get",),
}
"""What the engine does to objects of the namespace: no more, no less. Logs are pods/log, get."""


def permissions(cluster: Cluster) -> list[Check]:
    """Ask the API server about each verb, and name what is missing by resource."""
    checks = []
    wanted = [(item, item.plural, "", verbs) for item, verbs in VERBS.items()]
    for resource, plural, subresource, verbs in [*wanted, (POD, "pods", "log", ("get",))]:
        name = f"{plural}/{subresource}" if subresource else plural
        denied = [verb for verb in verbs if not _allowed(cluster, resource, subresource, verb)]
        if denied:
            remedy = (
                f"{OVERLAY}, or add to a Role of the step's service account: "
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
