"""Delete what the steps of runs that are over have left: one that was killed, or had no time to delete its job."""

from __future__ import annotations

from http import HTTPStatus

from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.jobs import has_ended
from hyperflow.engines.kubeflow.manifests.common import MANAGED_BY, Manifest
from hyperflow.engines.kubeflow.owner import run_is_over, workflow_of
from hyperflow.engines.kubeflow.resources import EXPERIMENT, JOB, TFJOB, TRAINJOB, Resource


def reap(cluster: Cluster) -> list[str]:
    """Delete our searches and trainings that still run although their run is over."""
    deleted = []
    for resource in (EXPERIMENT, TFJOB, TRAINJOB, JOB):
        for item in _ours(cluster, resource):
            name = item["metadata"]["name"]
            if _is_orphan(cluster, item) and cluster.delete(resource, name, item["metadata"]["uid"]):
                deleted.append(f"{resource.kind} {name}")
    return deleted


def _ours(cluster: Cluster, resource: Resource) -> list[Manifest]:
    selector = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())
    try:
        items: list[Manifest] = cluster.list(resource, labelSelector=selector)["items"]
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return []  # no run needs all of them
    return items


def _is_orphan(cluster: Cluster, item: Manifest) -> bool:
    """Tell whether a job runs for nobody; one without a Workflow was started by hand, and is left alone."""
    owner = workflow_of(item)
    if owner is None or "deletionTimestamp" in item["metadata"]:
        return False
    return not has_ended(item) and run_is_over(cluster, owner)
