"""ServeSpec → KServe InferenceService, and the ways from one state of a service to the next.

A service outlives runs, so it carries what later runs need to know about it in annotations: the model it serves,
the one before, and the whole predictor of the one before, which makes going back exact.
"""

from __future__ import annotations

import copy
import hashlib
import json
from urllib.parse import urlsplit

from hyperflow.engines.kubeflow.manifests.common import MANAGED_BY, SPEC_ANNOTATION, Manifest, labels
from hyperflow.engines.kubeflow.manifests.kserve import MODE_ANNOTATION, KServe
from hyperflow.engines.kubeflow.manifests.predictor import predictor as describe
from hyperflow.errors import Conflict
from hyperflow.specs import ModelRef, ServeSpec, fingerprint

MODEL_ANNOTATION = "hyperflow.dev/model"
PREVIOUS_ANNOTATION = "hyperflow.dev/previous"
PREVIOUS_PREDICTOR_ANNOTATION = "hyperflow.dev/previous-predictor"
FAILED_ANNOTATION = "hyperflow.dev/failed"
CHANGE_ANNOTATION = "hyperflow.dev/change"
"""Counts our changes; KServe hands it on to the Deployments that it makes of them (docs/decisions/taken-up.md)."""
REPLACES_ANNOTATION = "hyperflow.dev/replaces"
"""Knative's last revision from before our change, which makes another one: KServe takes a change up with a delay."""
REPLICAS_ANNOTATION = "hyperflow.dev/replicas"
"""How a canary in Standard mode scales once it is promoted; until then it has one replica."""
TAGS_ANNOTATION = "serving.kserve.io/enable-tag-routing"
"""Has Knative give its newest revision an address of its own, so that a canary can be asked alone."""

_REASON_SHOWN = 500
_SCALING = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")


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
    metadata["labels"] = _relabelled(live, spec.model, spec.run_id)
    metadata["annotations"].pop(FAILED_ANNOTATION, None)
    metadata["annotations"].update(_annotations(spec, kserve))
    if before is not None:
        metadata["annotations"][PREVIOUS_ANNOTATION] = _dump(before)
        metadata["annotations"][PREVIOUS_PREDICTOR_ANNOTATION] = json.dumps(old_predictor)
    _count(service, live)
    service["spec"].pop("canary", None)
    metadata["annotations"].pop(REPLICAS_ANNOTATION, None)
    if before is None or spec.canary_percent == 100:
        service["spec"]["predictor"] = predictor
    elif kserve.mode == "Knative":
        service["spec"]["predictor"] = {**predictor, "canaryTrafficPercent": spec.canary_percent}
    else:
        scaling = {key: predictor[key] for key in _SCALING if key in predictor}
        metadata["annotations"][REPLICAS_ANNOTATION] = json.dumps(scaling)
        service["spec"].update(_canary(spec, predictor, old_predictor))
    return service


def shared(live: Manifest, percent: int) -> Manifest | None:
    """Return the service with a canary that is ready given its share, or None where there is nothing to give.

    Only Standard mode needs it: there a canary that is not ready answers its share with 503.
    """
    service = _editable(live)
    canaries = service["spec"].get("canary")
    if not canaries or canaries[0]["trafficPercent"] == percent:
        return None
    canaries[0]["trafficPercent"] = percent
    return service


def promoted(live: Manifest) -> Manifest | None:
    """Return the service with the canary in full charge, or None where there is no canary."""
    service = _editable(live)
    canaries = service["spec"].pop("canary", None)
    if canaries:
        canary = canaries[0]["predictor"]
        canary.pop("name")  # it is part of the predictor's address, which has to stay what it was
        canary["model"].pop("name", None)
        scaling = json.loads(service["metadata"]["annotations"].pop(REPLICAS_ANNOTATION))
        _count(service, live)
        service["spec"]["predictor"] = {**canary, **scaling}
        return service
    if service["spec"]["predictor"].pop("canaryTrafficPercent", None) is not None:
        return service
    return None


def restored(live: Manifest) -> Manifest | None:
    """Return the service as it was before its last change, or None where nothing is known of that.

    Beside a canary in Knative mode it gets none of the requests yet: without a share they would all go to the newest
    revision that is ready, which is the canary until what is restored has come up. `promoted` gives them to it then.
    """
    annotations = live["metadata"].get("annotations", {})
    if PREVIOUS_ANNOTATION not in annotations or PREVIOUS_PREDICTOR_ANNOTATION not in annotations:
        return None
    service = _editable(live)
    annotations = service["metadata"]["annotations"]
    previous = annotations.pop(PREVIOUS_ANNOTATION)
    predictor = json.loads(annotations.pop(PREVIOUS_PREDICTOR_ANNOTATION))
    held = {"canaryTrafficPercent": 0} if has_share(live) else {}
    service["spec"]["predictor"] = {**predictor, **held}
    service["spec"].pop("canary", None)
    annotations.pop(REPLICAS_ANNOTATION, None)
    annotations[MODEL_ANNOTATION] = previous
    annotations.pop(SPEC_ANNOTATION, None)
    _count(service, live)
    service["metadata"]["labels"] = _relabelled(live, back := _load(previous), back.run_id or "unknown")
    return service


def has_share(live: Manifest) -> bool:
    """Tell whether Knative gives its newest revision a share of the requests, and the rest to the one before."""
    return "canaryTrafficPercent" in live["spec"]["predictor"]


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

    Raises:
        Conflict: Knative has no address for the canary alone.
    """
    name = live["metadata"]["name"]
    address = public_url(live, inside) if inside else ""
    canaries = live["spec"].get("canary")
    if address and canaries:
        return _at(address, f"{name}-{canaries[0]['predictor']['name']}-predictor", name) or address
    if not has_share(live):
        return public_url(live, inside)
    tagged = latest_tag(live)
    if tagged is None:
        why = "KServe shows no traffic target with the tag `latest`"
        raise Conflict(f"the canary of {name} has no address of its own", why, "deploy it again")
    return (address and _at(address, f"latest-{name}-predictor", name)) or str(tagged.get("url", ""))


def _at(address: str, host: str, name: str) -> str:
    """Put another of the service's hosts in an address, or return nothing where it has none that we know.

    KServe's address begins with the service's name, or the predictor's where it makes no virtual host of Istio's.
    """
    first, dot, rest = urlsplit(address).netloc.partition(".")
    return urlsplit(address)._replace(netloc=f"{host}.{rest}").geturl() if dot and first in _hosts(name) else ""


def _hosts(name: str) -> tuple[str, str]:
    return name, f"{name}-predictor"


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
    unproven = "canary" in live["spec"] or has_share(live) or not has_come_up
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
            "labels": {**labels(spec.run_id), **spec.model.labels},
            "annotations": {MODE_ANNOTATION: kserve.mode_value, CHANGE_ANNOTATION: "1", **_annotations(spec, kserve)},
        },
        "spec": {"predictor": predictor},
    }


def _relabelled(live: Manifest, model: ModelRef, run_id: str) -> dict[str, str]:
    """Give a service the labels of what it is to serve, in the place of those of what it serves."""
    gone = now.labels if (now := served(live)) else {}
    kept = {name: text for name, text in live["metadata"].get("labels", {}).items() if name not in gone}
    return {**kept, **labels(run_id), **model.labels}


def _annotations(spec: ServeSpec, kserve: KServe) -> dict[str, str]:
    tags = {TAGS_ANNOTATION: "true"} if kserve.mode == "Knative" else {}
    return {SPEC_ANNOTATION: fingerprint(spec), MODEL_ANNOTATION: _dump(spec.model), **tags}


def _canary(spec: ServeSpec, predictor: Manifest, old_predictor: Manifest) -> Manifest:
    """Put one replica of the new model beside the old one's, without any requests as long as it is not ready.

    KServe takes a canary's replicas off the least of the stable model's, who has all the users: they are put on top.
    """
    fixed = {key: value for key, value in predictor.items() if key not in _SCALING}
    fixed["minReplicas"] = 1
    fixed["model"] = {**predictor["model"], "name": ""}  # the schema of a canary, and it alone, requires one
    fixed["name"] = f"r{hashlib.sha256(spec.run_id.encode()).hexdigest()[:6]}"
    least = old_predictor.get("minReplicas", 1)
    most = max(old_predictor.get("maxReplicas", least), least)
    stable_predictor = {**old_predictor, "minReplicas": least + 1, "maxReplicas": most + 1}
    return {"predictor": stable_predictor, "canary": [{"predictor": fixed, "trafficPercent": 0}]}


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
    more = {"labels": dict(model.labels)} if model.labels else {}
    return json.dumps({**fields, "parameters": dict(model.parameters), **more}, sort_keys=True)


def _load(text: str) -> ModelRef:
    fields = json.loads(text)
    return ModelRef(
        fields["path"], fields.get("runId", ""), fields.get("accuracy", 0.0), fields.get("data", ""),
        fields.get("parameters", {}), fields.get("labels", {}),
    )  # fmt: skip
