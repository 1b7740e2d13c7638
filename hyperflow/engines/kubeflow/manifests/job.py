"""Work → batch/v1 Job, and the headless Service by which its pods find each other; no operator is needed.

Each worker is an index of one Indexed Job. TF_CONFIG is the same text in every pod but for the task's index, which the
kubelet puts in: the Job controller gives it to each pod as an annotation, and `$(…)` in a variable's value names
another variable. There is no chief: the first worker leads, as TensorFlow has it where nobody is called so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hyperflow.engines.kubeflow.manifests.common import Manifest, plain, pod_template
from hyperflow.engines.kubeflow.manifests.tfjob import queue_label
from hyperflow.engines.kubeflow.manifests.work import LARGEST_RETRYABLE, Work

if TYPE_CHECKING:
    from kubernetes.client import V1EnvVar, V1JobSpec, V1PodFailurePolicy, V1PodTemplateSpec, V1SuccessPolicy

CONTAINER = "trainer"
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
NAME_LABEL = "batch.kubernetes.io/job-name"
PORT = 2222
"""Where the workers listen; TensorFlow's customary port."""

_INDEX = "HYPERFLOW_WORKER_INDEX"
_SLACK = 2  # what is started in a lost worker's place may meet a peer of the first attempt, and end with it


def job(work: Work) -> Manifest:
    """Build the Job."""
    from kubernetes import client

    metadata = client.V1ObjectMeta(
        name=work.name,
        labels={**work.labels, **queue_label(work.compute)},
        annotations=dict(work.annotations),
    )
    template = pod_template(CONTAINER, work.trainer.image, work.argv, work.env, work.compute, work.claim)
    if work.workers > 1:
        addresses = [f"{work.name}-{index}.{work.name}:{PORT}" for index in range(work.workers)]
        template.spec.subdomain = work.name
        template.spec.containers[0].env += cluster_variables(addresses)
    return plain(
        client.V1Job(api_version="batch/v1", kind="Job", metadata=metadata, spec=job_spec(work, template, CONTAINER))
    )


def service(work: Work) -> Manifest:
    """Build the Service that gives each of the Job's pods a name; they need one before they are ready."""
    from kubernetes import client

    return plain(
        client.V1Service(
            api_version="v1",
            kind="Service",
            metadata=client.V1ObjectMeta(name=work.name, labels=dict(work.labels), annotations=dict(work.annotations)),
            spec=client.V1ServiceSpec(
                cluster_ip="None",
                publish_not_ready_addresses=True,
                selector={NAME_LABEL: work.name},
                ports=[client.V1ServicePort(name="tensorflow", port=PORT)],
            ),
        )
    )


def job_spec(work: Work, template: V1PodTemplateSpec, container: str) -> V1JobSpec:
    """Describe an Indexed Job: the first worker's success is the Job's, and what runs on then is stopped.

    What a lost node takes with it is made again and counts for nothing. `backoffLimit` says the same as the limit for
    each index; a Kubernetes before 1.29 knows it alone.
    """
    from kubernetes import client

    each = work.retries * (1 if work.workers == 1 else _SLACK)
    return client.V1JobSpec(
        completion_mode="Indexed",
        completions=work.workers,
        parallelism=work.workers,
        backoff_limit=each * work.workers,
        backoff_limit_per_index=each,
        max_failed_indexes=0,
        pod_failure_policy=_failure_policy(container),
        success_policy=_success_policy(),
        active_deadline_seconds=work.seconds,
        template=template,
    )


def cluster_variables(addresses: list[str]) -> list[V1EnvVar]:
    """Return the variables that tell a worker its number, and with it the whole cluster."""
    from kubernetes import client

    field = client.V1ObjectFieldSelector(field_path=f"metadata.annotations['{INDEX_ANNOTATION}']")
    index = client.V1EnvVar(name=_INDEX, value_from=client.V1EnvVarSource(field_ref=field))
    cluster = json.dumps({"worker": addresses})
    task = f'{{"type": "worker", "index": $({_INDEX})}}'
    config = f'{{"cluster": {cluster}, "task": {task}, "environment": "cloud"}}'
    return [index, client.V1EnvVar(name="TF_CONFIG", value=config)]


def _failure_policy(container: str) -> V1PodFailurePolicy:
    """Make lost pods again without counting them, and give up at once on faults that no retry cures."""
    from kubernetes import client

    codes = client.V1PodFailurePolicyOnExitCodesRequirement(
        container_name=container, operator="In", values=list(range(1, LARGEST_RETRYABLE + 1))
    )
    lost = client.V1PodFailurePolicyOnPodConditionsPattern(type="DisruptionTarget", status="True")
    return client.V1PodFailurePolicy(
        rules=[
            client.V1PodFailurePolicyRule(action="Ignore", on_pod_conditions=[lost]),
            client.V1PodFailurePolicyRule(action="FailJob", on_exit_codes=codes),
        ]
    )


def _success_policy() -> V1SuccessPolicy:
    from kubernetes import client

    return client.V1SuccessPolicy(rules=[client.V1SuccessPolicyRule(succeeded_indexes="0")])
