"""Who owns what a step makes: the Workflow of its run, so that what is left over goes when the run goes."""

from __future__ import annotations

import os

from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.resources import POD

POD_NAME = "KFP_POD_NAME"
"""Environment variable in which KFP tells a step its pod's name."""


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
