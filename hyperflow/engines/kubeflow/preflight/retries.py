"""Whether Argo retries what our pipelines ask it to retry: its administrator has the last word, in a ConfigMap."""

from __future__ import annotations

from typing import Any

import yaml

from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.preflight.check import Check, read
from hyperflow.engines.kubeflow.resources import CONFIG_MAP

NAME, NAMESPACE = "workflow-controller-configmap", "kubeflow"

_TITLE = "retried steps"
_NOT_AFTER_FAILURES = ("OnError", "OnTransientError")
_PATCH = f"kubectl -n {NAMESPACE} patch configmap {NAME} --patch-file manifests/admin/retry-failed-steps.yaml"


def retried_steps(cluster: Cluster) -> Check:
    """Check that Argo runs a step again that has failed."""
    found, refusal = read(cluster, CONFIG_MAP, NAME, NAMESPACE)
    if refusal:
        return Check(_TITLE, "ok", f"unknown: {refusal}")
    defaults = _workflow_defaults(found)
    policy = str(_at(defaults, "spec", "templateDefaults", "retryStrategy", "retryPolicy") or "")
    seconds = _at(defaults, "spec", "ttlStrategy", "secondsAfterCompletion")
    kept = f"; a run's jobs are deleted {seconds} s after its end" if seconds else ""
    if policy in _NOT_AFTER_FAILURES:
        why = f"a step that fails is not run again: Argo's administrator has set retryPolicy: {policy}"
        return Check(_TITLE, "warn", why + kept, f"ask the administrator for: {_PATCH}")
    return Check(_TITLE, "ok", f"as the pipelines ask (retryPolicy: {policy or 'none set'}){kept}")


def _workflow_defaults(found: Manifest | None) -> Any:
    """Read the defaults, which older installations have in one text with all else."""
    data = (found or {}).get("data") or {}
    try:
        if "workflowDefaults" in data:
            return yaml.safe_load(data["workflowDefaults"])
        return _at(yaml.safe_load(data.get("config") or ""), "workflowDefaults")
    except yaml.YAMLError:
        return None


def _at(item: Any, *names: str) -> Any:
    for name in names:
        item = item.get(name) if isinstance(item, dict) else None
    return item
