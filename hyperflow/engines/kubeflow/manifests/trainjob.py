"""Work → TrainJob of Kubeflow Trainer 2.2 and newer.

What is the same in all of them stands in a TrainingRuntime of ours (manifests/components/trainer): one group
of pods called `node`, Trainer's plain policy, which adds nothing of its own, and how failures are taken. TF_CONFIG is
made as in a Job of ours; JobSet gives the pods their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hyperflow.engines.kubeflow.manifests.common import Manifest, plain, pod_template
from hyperflow.engines.kubeflow.manifests.job import PORT, cluster_variables
from hyperflow.engines.kubeflow.manifests.tfjob import queue_label
from hyperflow.engines.kubeflow.manifests.work import Work

if TYPE_CHECKING:
    from kubernetes.client import V1PodTemplateSpec

CONTAINER = "node"
"""The name that Trainer looks for."""
NAME_LABEL = "jobset.sigs.k8s.io/jobset-name"
RETRYING, ONCE = "hyperflow", "hyperflow-once"
"""The runtimes: one that starts pods again after faults that a retry may cure, and one that does not."""

_GROUP = "node"
_MANAGER = "hyperflow.dev/steps"


def trainjob(work: Work) -> Manifest:
    """Build the TrainJob."""
    template = pod_template(CONTAINER, work.trainer.image, work.argv, work.env, work.compute, work.claim)
    container = template.spec.containers[0]
    if work.workers > 1:
        addresses = [f"{work.name}-{_GROUP}-0-{index}.{work.name}:{PORT}" for index in range(work.workers)]
        container.env += cluster_variables(addresses)
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {
            "name": work.name,
            "labels": {**work.labels, **queue_label(work.compute)},
            "annotations": dict(work.annotations),
        },
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime",
                "name": RETRYING if work.retries else ONCE,
            },
            "trainer": {
                "image": work.trainer.image,
                "command": list(work.argv),
                "env": plain(container.env),
                "numNodes": work.workers,
                "resourcesPerNode": plain(container.resources),
            },
            "runtimePatches": [{"manager": _MANAGER, "trainingRuntimeSpec": _patch(template)}],
            "activeDeadlineSeconds": work.seconds,
        },
    }  # fmt: skip


def _patch(template: V1PodTemplateSpec) -> dict[str, Any]:
    """Put a run's own into the runtime's pods: the claim, where they may run, and our labels."""
    pod = plain(template.spec)
    container = pod["containers"][0]
    spec: Manifest = {
        name: pod[name]
        for name in ("volumes", "securityContext", "nodeSelector", "tolerations", "imagePullSecrets")
        if name in pod
    }
    mine = {
        "name": CONTAINER,
        "volumeMounts": container["volumeMounts"],
        "securityContext": container["securityContext"],
    }
    pods: Manifest = {"metadata": plain(template.metadata), "spec": {**spec, "containers": [mine]}}
    job: Manifest = {"name": _GROUP, "template": {"spec": {"template": pods}}}
    return {"template": {"spec": {"replicatedJobs": [job]}}}
