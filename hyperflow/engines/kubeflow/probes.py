"""Is somebody there who acts on objects of a kind? Kinds outlive the controllers that brought them.

A step may look at no other namespace. But it may ask the API server to admit, without keeping it, an object that the
controller's webhook has to refuse: a refusal in the webhook's own words is an answer of the controller.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.resources import EXPERIMENT, TFJOB, TRAINJOB, Resource
from hyperflow.errors import Unavailable

_PATIENCE = 10.0
_REFUSED = "denied the request"
"""What the API server says of an object that a webhook has looked at."""
_NAME = "hyperflow-probe"

_POD = {"spec": {"containers": [{"name": "probe", "image": "probe"}]}}
_WRONG: dict[Resource, Manifest] = {
    # a container that is not called tensorflow
    TFJOB: {"tfReplicaSpecs": {"Worker": {"replicas": 1, "template": _POD}}},
    # a runtime that there cannot be; `runtimePatches` is there since Trainer 2.2
    TRAINJOB: {"runtimeRef": {"name": _NAME, "kind": "TrainingRuntime"}, "runtimePatches": []},
    # a search without an objective
    EXPERIMENT: {"parameters": [], "algorithm": {"algorithmName": "random"}},
}


@dataclass(frozen=True)
class Sign:
    """Whether a controller is there, and how we know."""

    alive: bool
    text: str


def sign_of_life(cluster: Cluster, resource: Resource) -> Sign:
    """Ask the webhook of a kind to refuse what it must refuse; nothing is kept.

    Raises:
        ApiError: These rights are too few to tell.
    """
    hasty = Cluster(cluster.namespace, min(cluster.patience, _PATIENCE))
    wrong = {
        "apiVersion": f"{resource.group}/{resource.version}", "kind": resource.kind,
        "metadata": {"name": _NAME}, "spec": _WRONG[resource],
    }  # fmt: skip
    try:
        hasty.request("POST", resource.path(cluster.namespace), wrong, {"dryRun": "All", "fieldValidation": "Strict"})
    except ApiError as error:
        if _REFUSED in error.message:
            return Sign(True, f"the webhook of {resource.plural} answers")
        if error.status == HTTPStatus.FORBIDDEN:
            raise
        return Sign(False, f"a {resource.kind} cannot be tried: {error.why}")
    except Unavailable as error:
        return Sign(False, f"the webhook of {resource.plural} does not answer: {error.why}")
    return Sign(False, f"{resource.plural} are served, but no webhook looks at them: their operator is not there")
