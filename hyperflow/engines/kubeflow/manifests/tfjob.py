"""Work, or a TuneSpec of several workers → TFJob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hyperflow.engines.kubeflow.manifests.common import QUEUE_LABEL, Manifest, environment, plain, pod_template
from hyperflow.engines.kubeflow.manifests.work import Work, require_image, training
from hyperflow.specs import Compute, TrainSpec, TuneSpec

if TYPE_CHECKING:
    from kubeflow.training import KubeflowOrgV1TFJobSpec
    from kubernetes.client import V1PodTemplateSpec

CONTAINER = "tensorflow"
"""The name that the Training Operator looks for."""


def tfjob(spec: TrainSpec) -> Manifest:
    """Build the TFJob of a training.

    Raises:
        InvalidParameter: The trainer has no image, or a path is not on the volume.
    """
    return tfjob_of(training(spec))


def tfjob_of(work: Work) -> Manifest:
    """Build the TFJob of a training or of a trial."""
    from kubeflow import training
    from kubernetes.client import V1ObjectMeta

    template = pod_template(CONTAINER, work.trainer.image, work.argv, work.env, work.compute, work.claim)
    replicas = {"Chief": 1, "Worker": work.workers - 1, "PS": work.parameter_servers, "Evaluator": int(work.evaluator)}
    return plain(
        training.KubeflowOrgV1TFJob(
            api_version="kubeflow.org/v1",
            kind="TFJob",
            metadata=V1ObjectMeta(
                name=work.name,
                labels={**work.labels, **queue_label(work.compute)},
                annotations=dict(work.annotations),
            ),
            spec=_job_spec(dict.fromkeys(replicas, template), replicas, work.compute, work.retries, work.seconds),
        )
    )


def trial(spec: TuneSpec, primary: Sequence[str], others: Sequence[str], pod_labels: Mapping[str, str]) -> Manifest:
    """Build the TFJob of one trial: no name (Katib gives it), and one failure ends it.

    Args:
        spec: The search.
        primary: The chief's words, which Katib hands to a shell.
        others: The workers' words, which it leaves alone.
        pod_labels: Labels of the pods.
    """
    templates = {"Chief": _template(spec, primary, environment()), "Worker": _template(spec, others, environment())}
    for template in templates.values():
        template.metadata.labels |= pod_labels
    replicas = {"Chief": 1, "Worker": spec.workers - 1}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"labels": queue_label(spec.compute)},
        "spec": plain(_job_spec(templates, replicas, spec.compute, 0, spec.timeout)),
    }


def queue_label(compute: Compute) -> dict[str, str]:
    """Return the label by which Kueue takes a job in."""
    return {QUEUE_LABEL: compute.queue} if compute.queue else {}


def _template(spec: TuneSpec, words: Sequence[str], env: Mapping[str, str]) -> V1PodTemplateSpec:
    require_image(spec.trainer, spec.compute)
    return pod_template(CONTAINER, spec.trainer.image, words, env, spec.compute, spec.claim)


def _job_spec(
    templates: Mapping[str, V1PodTemplateSpec],
    replicas: Mapping[str, int],
    compute: Compute,
    retries: int,
    deadline: int,
) -> KubeflowOrgV1TFJobSpec:
    """Describe the replicas; what runs on at the end is stopped, what has ended stays to be read.

    Without retries the first failure ends the job by itself; a limit of 0 has the operator delete the failed pods too.
    """
    from kubeflow import training

    for template in templates.values():
        template.spec.restart_policy = None
    policy = "ExitCode" if retries else "Never"
    scheduling = training.KubeflowOrgV1SchedulingPolicy(
        min_available=sum(replicas.values()), queue=compute.queue or None
    )
    return training.KubeflowOrgV1TFJobSpec(
        run_policy=training.KubeflowOrgV1RunPolicy(
            clean_pod_policy="Running",
            backoff_limit=retries or None,
            active_deadline_seconds=deadline,
            scheduling_policy=scheduling if compute.gang else None,
        ),
        tf_replica_specs={
            kind: training.KubeflowOrgV1ReplicaSpec(replicas=count, restart_policy=policy, template=templates[kind])
            for kind, count in replicas.items()
            if count
        },
    )
