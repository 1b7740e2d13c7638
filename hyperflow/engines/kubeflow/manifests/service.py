"""ServeSpec → KServe InferenceService, and the ways from one state of a service to the next.

A service outlives runs, so it carries what later runs need to know about it in annotations: the model it serves,
the one before, and the whole predictor of the one before, which makes going back exact.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hyperflow import volume
from hyperflow.engines.kubeflow.manifests.common import (
    MANAGED_BY,
    RUN_LABEL,
    SPEC_ANNOTATION,
    Manifest,
    container_security,
    in_pod,
    labels,
    plain,
    pod_security,
    resources,
    scheduling,
)
from hyperflow.errors import InvalidParameter
from hyperflow.specs import ModelRef, ServeSpec, fingerprint

if TYPE_CHECKING:
    from kserve import V1beta1ModelSpec, V1beta1PredictorSpec

Mode = Literal["Knative", "Standard"]

MODE_ANNOTATION = "serving.kserve.io/deploymentMode"
MODEL_ANNOTATION = "hyperflow.dev/model"
PREVIOUS_ANNOTATION = "hyperflow.dev/previous"
PREVIOUS_PREDICTOR_ANNOTATION = "hyperflow.dev/previous-predictor"

_OLD_MODES = {"Knative": "Serverless", "Standard": "RawDeployment"}
_RUNTIMES = {"hyperflow": ("hyperflow", "hyperflow"), "tensorflow": ("kserve-tensorflow-serving", "tensorflow")}
_PORT = 8080


@dataclass(frozen=True)
class KServe:
    """What the cluster's KServe understands.

    Args:
        version: Major and minor version, or the oldest it can be.
        mode: How services are deployed.
    """

    version: tuple[int, int] = (0, 21)
    mode: Mode = "Standard"

    @property
    def mode_value(self) -> str:
        """Name the mode as this version does: 0.16 gave both a new name, and 0.15 does not know the new ones."""
        return self.mode if self.version >= (0, 16) else _OLD_MODES[self.mode]

    def check(self, spec: ServeSpec) -> None:
        """Refuse what this KServe would pass over in silence.

        Raises:
            InvalidParameter: Scaling to nothing, or a canary, that this version and mode do not have.
        """
        if self.mode == "Knative":
            return
        if spec.min_replicas == 0:
            raise InvalidParameter("min_replicas", 0, "at least 1: only KServe's Knative mode scales to nothing")
        if spec.canary_percent < 100:
            if self.version < (0, 20):
                allowed = "100: a canary needs KServe's Knative mode, or KServe 0.20"
                raise InvalidParameter("canary_percent", spec.canary_percent, allowed)
            if spec.min_replicas != spec.max_replicas:
                allowed = f"{spec.min_replicas}, as min_replicas: a canary in Standard mode needs a fixed number"
                raise InvalidParameter("max_replicas", spec.max_replicas, allowed)


def inference_service(spec: ServeSpec, kserve: KServe, live: Manifest | None = None) -> Manifest:
    """Build the service to create, or the one to replace `live` with.

    Raises:
        InvalidParameter: The model is not on the volume, or this KServe cannot do what is asked.
    """
    kserve.check(spec)
    predictor = plain(_predictor(spec, kserve))
    del predictor["model"]["name"]  # the SDK fills in an empty one, and KServe forbids it
    if live is None:
        return _first(spec, kserve, predictor)
    service = _editable(live)
    before, old_predictor = stable(live)
    metadata = service["metadata"]
    metadata["labels"] = {**metadata.get("labels", {}), **labels(spec.run_id)}
    metadata["annotations"].update(_annotations(spec))
    if before is not None:
        metadata["annotations"][PREVIOUS_ANNOTATION] = _dump(before)
        metadata["annotations"][PREVIOUS_PREDICTOR_ANNOTATION] = json.dumps(old_predictor)
    service["spec"].pop("canary", None)
    if before is None or spec.canary_percent == 100:
        service["spec"]["predictor"] = predictor
    else:
        service["spec"].update(_canary(spec, kserve, predictor, old_predictor))
    return service


def promoted(live: Manifest) -> Manifest | None:
    """Return the service with the canary in full charge, or None where there is no canary."""
    service = _editable(live)
    canaries = service["spec"].pop("canary", None)
    if canaries:
        stable_predictor = service["spec"]["predictor"]
        canary = canaries[0]["predictor"]
        canary["model"].pop("name", None)
        service["spec"]["predictor"] = {
            **canary,
            "maxReplicas": stable_predictor.get("maxReplicas", stable_predictor.get("minReplicas", 1)),
        }
        return service
    if service["spec"]["predictor"].pop("canaryTrafficPercent", None) is not None:
        return service
    return None


def restored(live: Manifest) -> Manifest | None:
    """Return the service as it was before its last change, or None where nothing is known of that."""
    annotations = live["metadata"].get("annotations", {})
    if PREVIOUS_ANNOTATION not in annotations or PREVIOUS_PREDICTOR_ANNOTATION not in annotations:
        return None
    service = _editable(live)
    annotations = service["metadata"]["annotations"]
    previous = annotations.pop(PREVIOUS_ANNOTATION)
    service["spec"]["predictor"] = json.loads(annotations.pop(PREVIOUS_PREDICTOR_ANNOTATION))
    service["spec"].pop("canary", None)
    annotations[MODEL_ANNOTATION] = previous
    annotations.pop(SPEC_ANNOTATION, None)
    service["metadata"]["labels"][RUN_LABEL] = _load(previous).run_id or "unknown"
    return service


def stable(live: Manifest) -> tuple[ModelRef | None, Manifest]:
    """Return the model, and its predictor, that the service would go back to: never a canary or one not yet ready."""
    annotations = live["metadata"].get("annotations", {})
    predictor: Manifest = copy.deepcopy(live["spec"]["predictor"])
    unproven = "canary" in live["spec"] or "canaryTrafficPercent" in predictor or not is_ready(live)
    if unproven and PREVIOUS_PREDICTOR_ANNOTATION in annotations:
        return previous(live), json.loads(annotations[PREVIOUS_PREDICTOR_ANNOTATION])
    predictor.pop("canaryTrafficPercent", None)
    return (served(live) if "url" in live.get("status", {}) else None), predictor


def is_ready(live: Manifest) -> bool:
    """Tell whether KServe says so of this very generation."""
    status = live.get("status", {})
    current = status.get("observedGeneration", 0) >= live["metadata"].get("generation", 1)
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
    return current and conditions.get("Ready") == "True"


def is_ours(live: Manifest) -> bool:
    """Tell whether Hyperflow made the service."""
    return MANAGED_BY.items() <= live["metadata"].get("labels", {}).items() and served(live) is not None


def served(live: Manifest) -> ModelRef | None:
    """Read which model the service is to serve."""
    text = live["metadata"].get("annotations", {}).get(MODEL_ANNOTATION)
    return _load(text) if text else None


def previous(live: Manifest) -> ModelRef | None:
    """Read which model the service served before."""
    text = live["metadata"].get("annotations", {}).get(PREVIOUS_ANNOTATION)
    return _load(text) if text else None


def _first(spec: ServeSpec, kserve: KServe, predictor: Manifest) -> Manifest:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": spec.name,
            "labels": labels(spec.run_id),
            "annotations": {MODE_ANNOTATION: kserve.mode_value, **_annotations(spec)},
        },
        "spec": {"predictor": predictor},
    }


def _annotations(spec: ServeSpec) -> dict[str, str]:
    return {SPEC_ANNOTATION: fingerprint(spec), MODEL_ANNOTATION: _dump(spec.model)}


def _canary(spec: ServeSpec, kserve: KServe, predictor: Manifest, old_predictor: Manifest) -> Manifest:
    if kserve.mode == "Knative":
        return {"predictor": {**predictor, "canaryTrafficPercent": spec.canary_percent}}
    fixed = {key: value for key, value in predictor.items() if key != "maxReplicas"}
    fixed["model"] = {**predictor["model"], "name": ""}  # the schema of a canary, and it alone, requires one
    name = f"r{hashlib.sha256(spec.run_id.encode()).hexdigest()[:6]}"
    canary = {"predictor": {**fixed, "name": name}, "trafficPercent": spec.canary_percent}
    return {"predictor": old_predictor, "canary": [canary]}


def _predictor(spec: ServeSpec, kserve: KServe) -> V1beta1PredictorSpec:
    """Describe the pods; Knative takes neither a pod's security context nor, mostly, its other extras."""
    from kserve import V1beta1PredictorSpec
    from kubernetes.client import V1EmptyDirVolumeSource, V1Volume

    return V1beta1PredictorSpec(
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        model=_model(spec),
        security_context=pod_security(spec.compute) if kserve.mode == "Standard" else None,
        volumes=[V1Volume(name="tmp", empty_dir=V1EmptyDirVolumeSource())],
        **scheduling(spec.compute),
    )


def _model(spec: ServeSpec) -> V1beta1ModelSpec:
    from kserve import V1beta1ModelFormat, V1beta1ModelSpec
    from kubernetes.client import V1VolumeMount

    runtime, model_format = _RUNTIMES[spec.runtime]
    folder = in_pod(spec.model.path, "model_path").removeprefix(volume.MOUNT_PATH).strip("/")
    return V1beta1ModelSpec(
        model_format=V1beta1ModelFormat(name=model_format),
        runtime=runtime,
        protocol_version="v1",
        image=(spec.image or None) if spec.runtime == "hyperflow" else None,
        storage_uri=f"pvc://{spec.claim}/{folder}",
        resources=resources(spec.compute),
        readiness_probe=_probe(spec.name),
        security_context=container_security(),
        volume_mounts=[V1VolumeMount(name="tmp", mount_path="/tmp")],
    )


def _probe(name: str) -> Any:
    """Ask for the model itself: KServe's own probe passes as soon as the port is open."""
    from kubernetes.client import V1HTTPGetAction, V1Probe

    return V1Probe(
        http_get=V1HTTPGetAction(path=f"/v1/models/{name}", port=_PORT),
        period_seconds=5,
        timeout_seconds=5,
        failure_threshold=3,
    )


def _editable(live: Manifest) -> Manifest:
    service = copy.deepcopy({key: value for key, value in live.items() if key != "status"})
    service["metadata"].pop("managedFields", None)
    service["metadata"].setdefault("annotations", {})
    service["metadata"].setdefault("labels", {})
    return service


def _dump(model: ModelRef) -> str:
    fields = {"path": model.path, "runId": model.run_id, "accuracy": model.accuracy, "data": model.data}
    return json.dumps({**fields, "parameters": dict(model.parameters)}, sort_keys=True)


def _load(text: str) -> ModelRef:
    fields = json.loads(text)
    return ModelRef(
        path=fields["path"],
        run_id=fields.get("runId", ""),
        accuracy=fields.get("accuracy", 0.0),
        data=fields.get("data", ""),
        parameters=fields.get("parameters", {}),
    )
