"""Who owns what a step makes: the Workflow of its run, so that what is left over goes when the run goes."""

from __future__ import annotations

import os
import time
from datetime import datetime

from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.resources import POD, WORKFLOW

POD_NAME = "KFP_POD_NAME"
"""Environment variable in which KFP tells a step its pod's name."""

_ENDED = ("Succeeded", "Failed", "Error")


def owner_reference(cluster: Cluster) -> Manifest | None:
    """Read the Workflow from the step's own pod; outside a KFP step there is none.

    KFP's run id is not the Workflow's uid, and the garbage collector deletes what names an owner that does not
    exist; so only a reference that Argo itself has written is repeated.
    """
    name = os.environ.get(POD_NAME)
    pod = cluster.get(POD, name) if name else None
    for reference in (pod or {}).get("metadata", {}).get("ownerReferences", []):
        if reference["kind"] == "Workflow":
            return {key: reference[key] for key in ("apiVersion", "kind", "name", "uid")}
    return None


def workflow_of(item: Manifest) -> Manifest | None:
    """Return the reference to the Workflow that owns an object; one made by hand has none."""
    owners = item["metadata"].get("ownerReferences", [])
    return next((owner for owner in owners if owner["kind"] == WORKFLOW.kind), None)


def run_is_over(cluster: Cluster, owner: Manifest) -> bool:
    """Tell whether the run of a Workflow has ended, is being terminated, or is gone."""
    workflow = cluster.get(WORKFLOW, owner["name"])
    if workflow is None or workflow["metadata"]["uid"] != owner["uid"]:
        return True
    if "deletionTimestamp" in workflow["metadata"] or workflow.get("spec", {}).get("shutdown"):
        return True
    return workflow.get("status", {}).get("phase") in _ENDED or _is_past_deadline(workflow)


def _is_past_deadline(workflow: Manifest) -> bool:
    """Tell whether Argo ends the run because of its time; KFP terminates a run by setting that to 0."""
    seconds = workflow.get("spec", {}).get("activeDeadlineSeconds")
    if not seconds:
        return seconds is not None
    started = workflow.get("status", {}).get("startedAt")
    return bool(started) and datetime.fromisoformat(started).timestamp() + seconds <= time.time()
