"""ServeSpec → KServe InferenceService, and the ways from one state of a service to the next.

A service outlives runs, so it carries what later runs need to know about it in annotations: the model it serves,
the one before, and the whole predictor of the one before, which makes going back exact.
"""

from __future__ import annotations

import copy
import hashlib
import json

from hyperflow.engines.kubeflow.manifests.common import MANAGED_BY, RUN_LABEL, SPEC_ANNOTATION, Manifest, labels
from hyperflow.engines.kubeflow.manifests.kserve import MODE_ANNOTATION, KServe
from hyperflow.engines.kubeflow.manifests.predictor import predictor as describe
from hyperflow.specs import ModelRef, ServeSpec, fingerprint

MODEL_ANNOTATION = "hyperflow.dev/model"
PREVIOUS_ANNOTATION = "hyperflow.dev/previous"
PREVIOUS_PREDICTOR_ANNOTATION = "hyperflow.dev/previous-predictor"
FAILED_ANNOTATION = "hyperflow.dev/failed"
CHANGE_ANNOTATION = "hyperflow.dev/change"
"""Counts our changes; KServe hands it on to the Deployments that it makes of them (docs/decisions/taken-up.md)."""
REPLACES_ANNOTATION = "hyperflow.dev/replaces"
"""Knative's last revision from before our change, which makes another one: KServe takes a change up with a delay."""
TAGS_ANNOTATION = "serving.kserve.io/enable-tag-routing"
"""Has Knative give its newest revision an address of its own, so that a canary can be asked alone."""

_REASON_SHOWN = 500


def inference_service(
    spec: ServeSpec, kserve: KServe, live: Manifest | None = None, has_come_up: bool = True
) -> Manifest:
    """Build the service to create, or the one to replace `live` with.

    Args:
        spec: What to serve.
        kserve: What the cluster's KServe understands.
        live: The service as it is.
        has_come_up: Whether what `live` describes is what answers; otherwise the way back leads past it.

    Raises:
        InvalidParameter: The model is not on the volume, or this KServe cannot do what is asked.
    """
    kserve.check(spec)
    predictor = describe(spec, kserve)
    if live is None:
        return _first(spec, kserve, predictor)
    service = _editable(live)
    before, old_predictor = stable(live, has_come_up)
    metadata = service["metadata"]
    metadata["labels"] = {**metadata.get("labels", {}), **labels(spec.run_id)}
    metadata["annotations"].pop(FAILED_ANNOTATION, None)
    metadata["annotations"].update(_annotations(spec, kserve))
    if before is not None:
        metadata["annotations"][PREVIOUS_ANNOTATION] = _dump(before)
        metadata["annotations"][PREVIOUS_PREDICTOR_ANNOTATION] = json.dumps(old_predictor)
    _count(service, live)
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
        canary.pop("name")  # it is part of the predictor's address, which has to stay what it was
        canary["model"].pop("name", None)
        _count(service, live)
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
    _count(service, live)
    service["metadata"]["labels"][RUN_LABEL] = _load(previous).run_id or "unknown"
    return service


def marked(live: Manifest, reason: str) -> Manifest:
    """Return the service marked as failed, so that nothing compares with it or goes back to it; it can be looked at."""
    service = _editable(live)
    annotations = service["metadata"]["annotations"]
    annotations[FAILED_ANNOTATION] = reason[:_REASON_SHOWN]
    annotations.pop(SPEC_ANNOTATION, None)
    return service


def is_marked(live: Manifest) -> bool:
    """Tell whether what the service has is known to have failed."""
    return FAILED_ANNOTATION in live["metadata"].get("annotations", {})


def public_url(live: Manifest, inside: bool) -> str:
    """Return where the service's users ask."""
    status = live.get("status", {})
    address = (status.get("address") or {}).get("url") if inside else ""
    return str(address or status.get("url", "")).rstrip("/")


def url(live: Manifest, inside: bool) -> str:
    """Return where the model that was deployed last is asked: a canary alone, and not for its share of the requests.

    Args:
        live: The service.
        inside: Whether the cluster's own names can be used; without them Standard mode has no address for a canary.
    """
    name = live["metadata"]["name"]
    address = public_url(live, inside) if inside else ""
    canaries = live["spec"].get("canary")
    if address and canaries:
        return address.replace(f"//{name}-predictor.", f"//{name}-{canaries[0]['predictor']['name']}-predictor.")
    tagged = latest_tag(live)
    if tagged and "canaryTrafficPercent" in live["spec"]["predictor"]:
        return address.replace(f"//{name}.", f"//latest-{name}-predictor.") if address else str(tagged.get("url", ""))
    return public_url(live, inside)


def latest_tag(live: Manifest) -> Manifest | None:
    """Return Knative's address for its newest revision alone, where it has one."""
    traffic = live.get("status", {}).get("components", {}).get("predictor", {}).get("traffic") or []
    return next((entry for entry in traffic if entry.get("tag") == "latest"), None)


def stable(live: Manifest, has_come_up: bool) -> tuple[ModelRef | None, Manifest]:
    """Return the model, and its predictor, that the service would go back to: no canary, none failed or unready."""
    annotations = live["metadata"].get("annotations", {})
    predictor: Manifest = copy.deepcopy(live["spec"]["predictor"])
    if is_marked(live):
        return None, predictor
    unproven = "canary" in live["spec"] or "canaryTrafficPercent" in predictor or not has_come_up
    if unproven and PREVIOUS_PREDICTOR_ANNOTATION in annotations:
        return previous(live), json.loads(annotations[PREVIOUS_PREDICTOR_ANNOTATION])
    predictor.pop("canaryTrafficPercent", None)
    return (served(live) if "url" in live.get("status", {}) else None), predictor


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
            "annotations": {MODE_ANNOTATION: kserve.mode_value, CHANGE_ANNOTATION: "1", **_annotations(spec, kserve)},
        },
        "spec": {"predictor": predictor},
    }


def _annotations(spec: ServeSpec, kserve: KServe) -> dict[str, str]:
    tags = {TAGS_ANNOTATION: "true"} if kserve.mode == "Knative" else {}
    return {SPEC_ANNOTATION: fingerprint(spec), MODEL_ANNOTATION: _dump(spec.model), **tags}


def _canary(spec: ServeSpec, kserve: KServe, predictor: Manifest, old_predictor: Manifest) -> Manifest:
    if kserve.mode == "Knative":
        return {"predictor": {**predictor, "canaryTrafficPercent": spec.canary_percent}}
    fixed = {key: value for key, value in predictor.items() if key != "maxReplicas"}
    fixed["model"] = {**predictor["model"], "name": ""}  # the schema of a canary, and it alone, requires one
    name = f"r{hashlib.sha256(spec.run_id.encode()).hexdigest()[:6]}"
    canary = {"predictor": {**fixed, "name": name}, "trafficPercent": spec.canary_percent}
    return {"predictor": old_predictor, "canary": [canary]}


def _editable(live: Manifest) -> Manifest:
    service = copy.deepcopy({key: value for key, value in live.items() if key != "status"})
    service["metadata"].pop("managedFields", None)
    service["metadata"].setdefault("annotations", {})
    service["metadata"].setdefault("labels", {})
    return service


def _count(service: Manifest, live: Manifest) -> None:
    annotations = service["metadata"]["annotations"]
    annotations[CHANGE_ANNOTATION] = str(int(annotations.get(CHANGE_ANNOTATION, "0")) + 1)
    revision = live.get("status", {}).get("components", {}).get("predictor", {}).get("latestCreatedRevision")
    if revision:
        annotations[REPLACES_ANNOTATION] = revision


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
