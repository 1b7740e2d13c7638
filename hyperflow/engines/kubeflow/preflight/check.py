"""One thing looked at, and how to look at an object that one may not be allowed to read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.resources import Resource
from hyperflow.errors import Unavailable

Status = Literal["ok", "warn", "fail"]

OVERLAY = "kubectl apply -k manifests/overlays/standard (or knative, no-mesh, token)"
"""What puts all of our objects into a namespace."""


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


def read(cluster: Cluster, resource: Resource, name: str, namespace: str = "") -> tuple[Manifest | None, str]:
    """Read an object; the second part says why we could not, where we may not."""
    try:
        return cluster.get(resource, name, namespace), ""
    except ApiError as error:
        if error.status != 403:
            raise
        return None, f"{resource.plural} cannot be read with these rights"


def labels(item: Manifest | None) -> dict[str, str]:
    """Return an object's labels, or none."""
    return dict((item or {}).get("metadata", {}).get("labels", {}))
