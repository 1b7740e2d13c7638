"""Is each component of Kubeflow installed, and does it run?"""

from __future__ import annotations

from dataclasses import dataclass

from hyperflow.engines.kubeflow import discovery
from hyperflow.engines.kubeflow.backends import TFJOBS, TRAINJOBS
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.preflight.check import Check, read
from hyperflow.engines.kubeflow.resources import (
    DEPLOYMENT,
    EXPERIMENT,
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


@dataclass(frozen=True)
class Component:
    """A part of Kubeflow that the engine works with.

    Args:
        name: Its name.
        namespace: Where the platform's manifests put its controller.
        deployment: The controller.
        resources: The kinds it brings.
        wanted: Which versions; docs/compatibility.md says which were run, parsed or read.
    """

    name: str
    namespace: str
    deployment: str
    resources: tuple[Resource, ...]
    wanted: str


KATIB = Component(
    "Katib", "kubeflow", "katib-controller", (EXPERIMENT, SUGGESTION, TRIAL), "Katib (run with 0.19.0)",
)  # fmt: skip
TRAINING = {
    TFJOBS: Component(
        "Training Operator", "kubeflow", "training-operator", (TFJOB,),
        "the Training Operator (run with 1.9.0; Trainer v2 has no TFJob)",
    ),
    TRAINJOBS: Component(
        "Kubeflow Trainer", "kubeflow-system", "kubeflow-trainer-controller-manager", (TRAINJOB, TRAINING_RUNTIME),
        "Kubeflow Trainer 2.2 or newer",
    ),
}  # fmt: skip
"""What carries trainings out, where a Job does not."""

ALWAYS = (
    Component(
        "KServe", "kserve", "kserve-controller-manager", (SERVICE, SERVING_RUNTIME),
        "KServe 0.15 or newer (run with 0.20.0)",
    ),
    Component(
        "Kubeflow Pipelines", "kubeflow", "ml-pipeline", (WORKFLOW,),
        "Kubeflow Pipelines (run with 2.17.0; 2.5 and 2.14 to 2.16 parse the YAML)",
    ),
)  # fmt: skip


def server(cluster: Cluster) -> Check:
    """Check that the API server answers."""
    version = cluster.request("GET", "/version")
    return Check("API server", "ok", f"Kubernetes {version.get('gitVersion', '?')}, namespace {cluster.namespace}")


def component(cluster: Cluster, part: Component) -> Check:
    """Check that the API server has a component's kinds, and tell the component's version if we may see it."""
    missing = [item.plural for item in part.resources if item.plural not in discovery.kinds(cluster, item)]
    served = ", ".join(sorted({f"{item.group}/{item.version}" for item in part.resources}))
    if missing:
        found = f"the API server has no {', '.join(missing)} in {served}"
        return Check(part.name, "fail", found, f"install {part.wanted}")
    versions = [served]
    if part.resources[0] is SERVICE:
        major, minor = discovery.kserve_version(cluster)
        versions.append(f"version {major}.{minor} or newer by its schema")
    item, refusal = read(cluster, DEPLOYMENT, part.deployment, part.namespace)
    if refusal:
        return Check(part.name, "ok", "; ".join(versions))
    if item is None:
        return _without_controller(part, "; ".join(versions))
    images = [container["image"] for container in item["spec"]["template"]["spec"]["containers"]]
    versions.append(f"image {images[0].rsplit('/', 1)[-1]}")
    if not item.get("status", {}).get("availableReplicas"):
        mend = f"kubectl -n {part.namespace} describe deployment {part.deployment}"
        return Check(part.name, "fail", f"{part.deployment} in {part.namespace} has no replica that runs", mend)
    return Check(part.name, "ok", "; ".join(versions))


def _without_controller(part: Component, versions: str) -> Check:
    """Kinds may be what is left of an uninstalled component: an object of theirs would wait for ever."""
    found = f"{versions}; but no Deployment {part.deployment} in {part.namespace}: nobody may act on its objects"
    return Check(part.name, "warn", found, f"see whether its controller runs elsewhere, or install {part.wanted}")
