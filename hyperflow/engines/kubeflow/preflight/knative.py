"""Does Knative take what the service's pods ask for? Its feature flags refuse most that a pod can say of its place."""

from __future__ import annotations

from hyperflow.engines.kubeflow import discovery
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.preflight.check import Check, read
from hyperflow.engines.kubeflow.resources import CONFIG_MAP, SERVICE
from hyperflow.specs import ServeSpec
from hyperflow.volume import paths

NAMESPACE, FLAGS = "knative-serving", "config-features"

_TITLE = "Knative's features"
_NODE_SELECTOR, _TOLERATIONS, _EMPTY_DIR, _CLAIM, _WRITE = (
    f"kubernetes.podspec-{name}"
    for name in (
        "nodeselector", "tolerations", "volumes-emptydir", "persistent-volume-claim", "persistent-volume-write",
    )
)  # fmt: skip
_DEFAULTS = {_EMPTY_DIR: "enabled"}
"""What is on where the ConfigMap does not say (Knative Serving 1.21, pkg/apis/config/features.go); all else is off."""


def features(cluster: Cluster, spec: ServeSpec) -> Check:
    """Check, in Knative mode, the flags that the service needs; without the right to read them, tell which they are."""
    log = "the folder of log_payloads" if paths.payloads(spec.log_payloads) else ""
    wanted = {
        _NODE_SELECTOR: "serving_node_selector" if spec.compute.node_selector else "",
        _TOLERATIONS: "serving_tolerations" if spec.compute.tolerations else "",
        _EMPTY_DIR: "the predictor's /tmp",
        _CLAIM: log,
        _WRITE: log,
    }
    wanted = {flag: what for flag, what in wanted.items() if what}
    if not _is_knative(cluster, spec):
        return Check(_TITLE, "ok", "not needed: the service is not Knative's")
    found, refusal = read(cluster, CONFIG_MAP, FLAGS, NAMESPACE)
    data = {} if refusal or found is None else found.get("data") or {}
    off = [flag for flag in wanted if str(data.get(flag, _DEFAULTS.get(flag, "disabled"))).lower() == "disabled"]
    if not off:
        return Check(_TITLE, "ok", f"{', '.join(wanted)} {'by default' if refusal else 'on'}")
    settings = ",".join(f'"{flag}":"enabled"' for flag in off)
    patch = f"kubectl -n {NAMESPACE} patch configmap {FLAGS} --type merge -p '{{\"data\":{{{settings}}}}}'"
    remedy = (
        f"leave out {' and '.join(dict.fromkeys(wanted[flag] for flag in off))}, or have Knative's admin run: {patch}"
    )
    if refusal:
        return Check(_TITLE, "warn", f"{refusal}; {', '.join(off)} must be on, and by default is not", remedy)
    return Check(_TITLE, "fail", f"{', '.join(off)} is off: Knative would refuse the service", remedy)


def _is_knative(cluster: Cluster, spec: ServeSpec) -> bool:
    if SERVICE.plural not in discovery.kinds(cluster, SERVICE):
        return False
    return discovery.kserve_of(cluster, cluster.get(SERVICE, spec.name)).mode == "Knative"
