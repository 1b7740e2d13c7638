"""What the namespace's labels ask for: Katib's collector, and how little a pod may do."""

from __future__ import annotations

from typing import Any

import yaml

from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.preflight.check import Check, labels, read
from hyperflow.engines.kubeflow.resources import CONFIG_MAP, NAMESPACE
from hyperflow.specs import TuneSpec

COLLECTOR_LABEL = "katib.kubeflow.org/metrics-collector-injection"
POD_SECURITY_LABEL = "pod-security.kubernetes.io/enforce"

_KATIB, _CONFIG = "kubeflow", "katib-config"
_ASK = f"ask the platform's admin whether {_CONFIG} in {_KATIB} has init.controller.injectSecurityContext: true, and a "
_CONTEXT = (
    "securityContext {allowPrivilegeEscalation: false, runAsNonRoot: true, runAsUser: 1000, capabilities: "
    "{drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}"
)


def collector_label(cluster: Cluster) -> Check:
    """Check the label without which Katib refuses an Experiment, or injects no collector into its trials."""
    name = cluster.namespace
    command = f"kubectl label namespace {name} {COLLECTOR_LABEL}=enabled --overwrite"
    namespace, refusal = read(cluster, NAMESPACE, name)
    if refusal:
        return Check("metrics collector", "warn", refusal, f"see to it that somebody has run: {command}")
    value = labels(namespace).get(COLLECTOR_LABEL)
    if value != "enabled":
        found = f"namespace {name} has {COLLECTOR_LABEL}={value}" if value else f"namespace {name} lacks its label"
        return Check("metrics collector", "fail", f"{found}: Katib refuses searches here", command)
    return Check("metrics collector", "ok", f"injected in {name}")


def pod_security(cluster: Cluster, tune: TuneSpec) -> Check:
    """Check that the pods that Katib adds to a search are let in where PodSecurity is enforced."""
    title = "pod security"
    namespace, refusal = read(cluster, NAMESPACE, cluster.namespace)
    level = labels(namespace).get(POD_SECURITY_LABEL, "privileged")
    if refusal or level != "restricted":
        return Check(title, "ok", refusal or f"{level}: all of our pods are let in")
    config, refusal = read(cluster, CONFIG_MAP, _CONFIG, _KATIB)
    if config is None:
        found = f"restricted; {refusal or f'there is no ConfigMap {_CONFIG} in {_KATIB}'}"
        return Check(title, "warn", found, f"{_ASK}securityContext for the suggestion of {tune.algorithm.name}")
    lacking = _lacking(_settings(config), tune)
    if lacking:
        found = "restricted refuses pods of Katib's: " + "; ".join(what for what, _ in lacking)
        return Check(title, "fail", found, "\n".join(remedy for _, remedy in lacking))
    return Check(title, "ok", "restricted; Katib's own containers are given a security context")


def _settings(config: Manifest) -> dict[str, Any]:
    return yaml.safe_load(config.get("data", {}).get("katib-config.yaml", "")) or {}


def _lacking(settings: dict[str, Any], tune: TuneSpec) -> list[tuple[str, str]]:
    """Say which containers of a search have no security context, and what gives them one."""
    lacking = []
    where = f"in {_CONFIG} of namespace {_KATIB}"
    if not settings.get("init", {}).get("controller", {}).get("injectSecurityContext"):
        remedy = f"set init.controller.injectSecurityContext: true {where}, and restart katib-controller"
        lacking.append(("the metrics collector has no security context", remedy))
    suggestions = settings.get("runtime", {}).get("suggestions", [])
    ours = [item for item in suggestions if item.get("algorithmName") == tune.algorithm.name]
    if not any(item.get("securityContext") for item in ours):
        remedy = f"give runtime.suggestions[{tune.algorithm.name}] {where} a {_CONTEXT}"
        lacking.append((f"the suggestion service of {tune.algorithm.name} has no security context", remedy))
    if tune.early_stopping:
        remedy = "leave early_stopping off: Katib 0.19 cannot give that container a security context"
        lacking.append(("the early stopping service has no security context", remedy))
    return lacking
