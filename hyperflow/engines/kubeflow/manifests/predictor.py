"""ServeSpec → the pods that answer: image, model, probe, security."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hyperflow import volume
from hyperflow.engines.kubeflow.manifests.common import (
    Manifest,
    container_security,
    in_pod,
    plain,
    pod_security,
    resources,
    scheduling,
)
from hyperflow.engines.kubeflow.manifests.kserve import KServe
from hyperflow.specs import ServeSpec
from hyperflow.volume import paths

if TYPE_CHECKING:
    from kserve import V1beta1ModelSpec
    from kubernetes.client import V1Volume

_RUNTIMES = {"hyperflow": ("hyperflow", "hyperflow"), "tensorflow": ("kserve-tensorflow-serving", "tensorflow")}
_PORT = 8080
_PAUSE_SECONDS = "5"
_PAYLOADS = "payloads"


def predictor(spec: ServeSpec, kserve: KServe) -> Manifest:
    """Describe the pods; Knative takes neither a pod's security context nor, mostly, its other extras."""
    from kserve import V1beta1PredictorSpec
    from kubernetes.client import V1EmptyDirVolumeSource, V1Volume

    described: Manifest = plain(
        V1beta1PredictorSpec(
            min_replicas=spec.min_replicas,
            max_replicas=spec.max_replicas,
            scale_metric=spec.scale_metric or None,
            scale_target=spec.scale_target or None,
            model=_model(spec, kserve),
            security_context=pod_security(spec.compute) if kserve.mode == "Standard" else None,
            volumes=[V1Volume(name="tmp", empty_dir=V1EmptyDirVolumeSource()), *_claim(spec)],
            **scheduling(spec.compute),
        )
    )
    del described["model"]["name"]  # the SDK fills in an empty one, and KServe forbids it
    return described


def storage_uri(spec: ServeSpec) -> str:
    """Return where KServe finds the model: on the claim.

    Raises:
        InvalidParameter: It is not on the volume.
    """
    folder = in_pod(spec.model.path, "model_path").removeprefix(volume.MOUNT_PATH).strip("/")
    return f"pvc://{spec.claim}/{folder}"


def _model(spec: ServeSpec, kserve: KServe) -> V1beta1ModelSpec:
    from kserve import V1beta1ModelFormat, V1beta1ModelSpec
    from kubernetes.client import V1VolumeMount

    log = _log_folder(spec)
    mount = V1VolumeMount(name=_PAYLOADS, mount_path=log, sub_path=log.removeprefix(volume.MOUNT_PATH).strip("/"))
    runtime, model_format = _RUNTIMES[spec.runtime]
    return V1beta1ModelSpec(
        model_format=V1beta1ModelFormat(name=model_format),
        runtime=runtime,
        protocol_version="v1",
        image=(spec.image or None) if spec.runtime == "hyperflow" else None,
        args=[f"--log_payloads={log or spec.log_payloads}"] if spec.log_payloads else None,
        storage_uri=storage_uri(spec),
        resources=resources(spec.compute),
        readiness_probe=_probe(spec.name),
        security_context=container_security(),
        volume_mounts=[V1VolumeMount(name="tmp", mount_path="/tmp"), *([mount] if log else [])],
        lifecycle=_pause() if kserve.mode == "Standard" else None,
    )


def _log_folder(spec: ServeSpec) -> str:
    """Return where the pod sees the folder that payloads are logged into; empty where there is none."""
    folder = paths.payloads(spec.log_payloads)
    return in_pod(str(folder), "log_payloads") if folder else ""


def _claim(spec: ServeSpec) -> list[V1Volume]:
    """The claim once more, to be written: KServe mounts its own to be read alone."""
    from kubernetes.client import V1PersistentVolumeClaimVolumeSource, V1Volume

    source = V1PersistentVolumeClaimVolumeSource(claim_name=spec.claim)
    return [V1Volume(name=_PAYLOADS, persistent_volume_claim=source)] if _log_folder(spec) else []


def _pause() -> Any:
    """Let a pod that is to end go on answering until all know that it does; Knative sees to this itself."""
    from kubernetes.client import V1ExecAction, V1Lifecycle, V1LifecycleHandler

    return V1Lifecycle(pre_stop=V1LifecycleHandler(_exec=V1ExecAction(["sleep", _PAUSE_SECONDS])))


def _probe(name: str) -> Any:
    """Ask for the model itself: KServe's own probe passes as soon as the port is open."""
    from kubernetes.client import V1HTTPGetAction, V1Probe

    return V1Probe(
        http_get=V1HTTPGetAction(path=f"/v1/models/{name}", port=_PORT),
        period_seconds=5,
        timeout_seconds=5,
        failure_threshold=3,
    )
