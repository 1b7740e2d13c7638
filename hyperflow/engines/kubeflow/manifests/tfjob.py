"""TrainSpec, or a TuneSpec of several workers → TFJob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hyperflow import volume
from hyperflow.engines.kubeflow.manifests import command
from hyperflow.engines.kubeflow.manifests.common import (
    QUEUE_LABEL,
    SPEC_ANNOTATION,
    Manifest,
    environment,
    in_pod,
    labels,
    plain,
    pod_template,
)
from hyperflow.errors import InvalidParameter
from hyperflow.specs import Compute, Trainer, TrainSpec, TuneSpec, fingerprint
from hyperflow.specs.trainer import uses_no_gpu
from hyperflow.volume import paths

if TYPE_CHECKING:
    from kubeflow.training import KubeflowOrgV1TFJobSpec
    from kubernetes.client import V1PodTemplateSpec

CONTAINER = "tensorflow"
"""The name that the Training Operator looks for."""

GRACE = 600
"""Seconds between the step's own time limit and the operator's, which deletes the pods and their logs."""


def tfjob(spec: TrainSpec) -> Manifest:
    """Build the TFJob of a training.

    Raises:
        InvalidParameter: The trainer has no image, or a path is not on the volume.
    """
    from kubeflow import training
    from kubernetes.client import V1ObjectMeta

    argv = spec.trainer.argv(
        in_pod(spec.data_path, "data_path"), spec.parameters, spec.epochs, in_pod(spec.model_path, "model_path")
    )
    folder = paths.training(spec.run_id, Path(volume.MOUNT_PATH))
    env = environment(
        HYPERFLOW_CHECKPOINT_DIR=str(folder / "checkpoint"), HYPERFLOW_TENSORBOARD_DIR=str(folder / "tensorboard")
    )
    template = _template(spec, command.literal(argv), env)
    replicas = {"Chief": 1, "Worker": spec.workers - 1, "PS": spec.parameter_servers, "Evaluator": int(spec.evaluator)}
    return plain(
        training.KubeflowOrgV1TFJob(
            api_version="kubeflow.org/v1",
            kind="TFJob",
            metadata=V1ObjectMeta(
                name=spec.name,
                labels={**labels(spec.run_id), **queue_label(spec.compute)},
                annotations={SPEC_ANNOTATION: fingerprint(spec)},
            ),
            spec=_job_spec(
                dict.fromkeys(replicas, template), replicas, spec.compute, spec.retries, spec.timeout + GRACE
            ),
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


def require_image(trainer: Trainer, compute: Compute) -> None:
    """Refuse a trainer that no pod could run, and GPUs that it would leave idle.

    Raises:
        InvalidParameter: It has no image, or one that is known to use no GPU.
    """
    if not trainer.image:
        raise InvalidParameter("trainer_image", "", "the container image that has the trainer in it")
    if compute.gpus and uses_no_gpu(trainer.image):
        remedy = (
            f"0 with {trainer.image}, whose TensorFlow uses none; or give trainer_image, hyperflow-model-cuda for one"
        )
        raise InvalidParameter("gpus", compute.gpus, remedy)


def queue_label(compute: Compute) -> dict[str, str]:
    """Return the label by which Kueue takes a job in."""
    return {QUEUE_LABEL: compute.queue} if compute.queue else {}


def _template(spec: TrainSpec | TuneSpec, words: Sequence[str], env: Mapping[str, str]) -> V1PodTemplateSpec:
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
