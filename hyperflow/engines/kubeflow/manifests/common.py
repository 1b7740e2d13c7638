"""What all of our objects share: labels, the hash of their spec, pods and paths as pods see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperflow import volume
from hyperflow.errors import InvalidParameter
from hyperflow.specs import Compute

if TYPE_CHECKING:
    from kubernetes.client import (
        V1PodSecurityContext,
        V1PodTemplateSpec,
        V1ResourceRequirements,
        V1SecurityContext,
        V1Volume,
    )

Manifest = dict[str, Any]
"""A Kubernetes object as plain data."""

RUN_LABEL = "hyperflow.dev/run"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
SPEC_ANNOTATION = "hyperflow.dev/spec"
MANAGED_BY = {"app.kubernetes.io/managed-by": "hyperflow"}
SIDECAR_OPT_OUT = {"sidecar.istio.io/inject": "false"}

USER = 1000
"""The user that every pod runs as; the images are made for it."""


def plain(model: object) -> Manifest:
    """Turn a typed model of any of the SDKs into plain data, without the fields that are not set."""
    from kubernetes.client import ApiClient

    data: Manifest = ApiClient().sanitize_for_serialization(model)
    return data


def labels(run_id: str) -> dict[str, str]:
    """Return the labels of an object that belongs to a run."""
    return {**MANAGED_BY, RUN_LABEL: run_id}


def in_pod(path: str, name: str) -> str:
    """Translate a path on the volume as this process sees it to the one that pods see.

    Raises:
        InvalidParameter: The path is not on the volume, so no pod could read it.
    """
    for root in (volume.root(), Path(volume.MOUNT_PATH)):
        if Path(path).is_relative_to(root):
            return str(Path(volume.MOUNT_PATH) / Path(path).relative_to(root))
    raise InvalidParameter(name, path, f"a path on the volume, under {volume.root()}")


def in_step(path: str, name: str) -> Path:
    """Translate a path on the volume, as this process or a pod sees it, to where this process finds it."""
    return volume.root() / Path(in_pod(path, name)).relative_to(volume.MOUNT_PATH)


def environment(**variables: str) -> dict[str, str]:
    """Return the variables that each of our pods gets; the root file system is read-only, so home is /tmp."""
    return {"HOME": "/tmp", volume.ENVIRONMENT: volume.MOUNT_PATH, **variables}


def pod_template(
    container: str, image: str, command: Sequence[str], env: Mapping[str, str], compute: Compute, claim: str
) -> V1PodTemplateSpec:
    """Build the pod of a job: the claim mounted, no rights it does not need, no mesh sidecar."""
    from kubernetes import client

    mounts = {"volume": volume.MOUNT_PATH, "tmp": "/tmp", **({"shm": "/dev/shm"} if compute.shared_memory else {})}
    return client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(annotations=dict(SIDECAR_OPT_OUT), labels={**MANAGED_BY, **SIDECAR_OPT_OUT}),
        spec=client.V1PodSpec(
            containers=[
                client.V1Container(
                    name=container,
                    image=image,
                    command=list(command),
                    env=[client.V1EnvVar(name=name, value=value) for name, value in env.items()],
                    resources=resources(compute),
                    security_context=container_security(),
                    volume_mounts=[client.V1VolumeMount(name=name, mount_path=path) for name, path in mounts.items()],
                )
            ],
            volumes=volumes(compute, claim),
            restart_policy="Never",
            security_context=pod_security(compute),
            **scheduling(compute),
        ),
    )


def volumes(compute: Compute, claim: str) -> list[V1Volume]:
    """Return the volumes of a job's pod: the claim, /tmp, and shared memory if more is asked for than runtimes give."""
    from kubernetes import client

    source = client.V1PersistentVolumeClaimVolumeSource(claim_name=claim)
    found = [
        client.V1Volume(name="volume", persistent_volume_claim=source),
        client.V1Volume(name="tmp", empty_dir=client.V1EmptyDirVolumeSource()),
    ]
    if compute.shared_memory:
        shm = client.V1EmptyDirVolumeSource(medium="Memory", size_limit=compute.shared_memory)
        found.append(client.V1Volume(name="shm", empty_dir=shm))
    return found


def scheduling(compute: Compute) -> dict[str, Any]:
    """Return a pod's fields that say where and before whom it may run, and with which secret its image is pulled."""
    from kubernetes.client import V1LocalObjectReference

    secret = compute.image_pull_secret
    return {
        "node_selector": dict(compute.node_selector) or None,
        "tolerations": [dict(toleration) for toleration in compute.tolerations] or None,
        "priority_class_name": compute.priority_class or None,
        "image_pull_secrets": [V1LocalObjectReference(name=secret)] if secret else None,
    }


def resources(compute: Compute) -> V1ResourceRequirements:
    """Ask for exactly what may be used, so that a node is never promised twice."""
    from kubernetes.client import V1ResourceRequirements

    amounts = {"cpu": compute.cpu, "memory": compute.memory}
    if compute.gpus:
        amounts[compute.gpu_resource] = str(compute.gpus)
    return V1ResourceRequirements(requests=amounts, limits=amounts)


def pod_security(compute: Compute) -> V1PodSecurityContext:
    """Run as our user; the group owns what is written to the volume."""
    from kubernetes.client import V1PodSecurityContext, V1SeccompProfile

    return V1PodSecurityContext(
        run_as_non_root=True,
        run_as_user=USER,
        run_as_group=compute.fs_group,
        fs_group=compute.fs_group,
        fs_group_change_policy="OnRootMismatch",
        seccomp_profile=V1SeccompProfile(type="RuntimeDefault"),
    )


def container_security() -> V1SecurityContext:
    """Give a container no privilege; this is Kubernetes' `restricted` profile and a read-only root."""
    from kubernetes.client import V1Capabilities, V1SeccompProfile, V1SecurityContext

    return V1SecurityContext(
        allow_privilege_escalation=False,
        capabilities=V1Capabilities(drop=["ALL"]),
        read_only_root_filesystem=True,
        run_as_non_root=True,
        run_as_user=USER,
        seccomp_profile=V1SeccompProfile(type="RuntimeDefault"),
    )
