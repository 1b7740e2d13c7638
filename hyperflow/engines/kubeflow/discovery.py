"""Find out what the cluster has: API groups and versions, and which KServe it is."""

from __future__ import annotations

import os
from typing import Any, cast

from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.manifests.kserve import MODE_ANNOTATION, KServe, Mode
from hyperflow.engines.kubeflow.resources import SERVICE, Resource
from hyperflow.errors import InvalidParameter, Unavailable

MODE = "HYPERFLOW_DEPLOYMENT_MODE"
"""Environment variable that chooses between KServe's modes for new services."""

_MODES: dict[str, Mode] = {
    "Knative": "Knative",
    "Serverless": "Knative",
    "Standard": "Standard",
    "RawDeployment": "Standard",
}


def kinds(cluster: Cluster, resource: Resource) -> set[str]:
    """Return the plurals that the API server has in a resource's group and version."""
    try:
        return {item["name"] for item in cluster.request("GET", resource.api)["resources"]}
    except ApiError as error:
        if error.status == 404:
            return set()
        raise


def groups(cluster: Cluster) -> dict[str, list[str]]:
    """Return each API group of the server with its versions."""
    found = cluster.request("GET", "/apis")["groups"]
    return {group["name"]: [version["version"] for version in group["versions"]] for group in found}


def kserve_of(cluster: Cluster, live: Manifest | None = None) -> KServe:
    """Find KServe's version, as exactly as its schema shows it, and the mode for a new or a standing service.

    Raises:
        Unavailable: KServe is not installed.
    """
    mode = _mode_of(live) if live else None
    return KServe(kserve_version(cluster), mode or _chosen_mode(cluster))


def kserve_version(cluster: Cluster) -> tuple[int, int]:
    """Return the oldest version of KServe that has the fields that this one has.

    Raises:
        Unavailable: KServe is not installed.
    """
    try:
        document = cluster.request("GET", f"/openapi/v3{SERVICE.api}")
    except ApiError as error:
        if error.status != 404:
            raise
        remedy = "install KServe 0.15 or newer; `hyperflow preflight` lists what else is missing"
        raise Unavailable("KServe is not installed", f"the API server has no {SERVICE.api}", remedy) from error
    spec = _service_spec(document)
    if "canary" in spec:
        return 0, 20
    model = spec.get("predictor", {}).get("properties", {})
    return (0, 16) if "storageUris" in model or "storageUris" in _properties(model.get("model")) else (0, 15)


def _service_spec(document: Manifest) -> dict[str, Any]:
    for schema in document.get("components", {}).get("schemas", {}).values():
        kinds_of = schema.get("x-kubernetes-group-version-kind", [])
        if any(entry.get("kind") == SERVICE.kind for entry in kinds_of):
            return _properties(_properties(schema).get("spec"))
    return {}


def _properties(schema: Any) -> dict[str, Any]:
    return dict((schema or {}).get("properties", {}))


def _mode_of(live: Manifest) -> Mode | None:
    """Read a service's mode, which can't be changed."""
    text = live["metadata"].get("annotations", {}).get(MODE_ANNOTATION) or live.get("status", {}).get("deploymentMode")
    return _MODES.get(str(text))


def _chosen_mode(cluster: Cluster) -> Mode:
    text = os.environ.get(MODE)
    if text is None:
        return "Knative" if "serving.knative.dev" in groups(cluster) else "Standard"
    if text not in ("Knative", "Standard"):
        raise InvalidParameter(MODE, text, "Knative or Standard")
    return cast(Mode, text)
