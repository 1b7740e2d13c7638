"""Can a model be served here, and do the steps that ask it get through to it?"""

from __future__ import annotations

import socket

from hyperflow import client, pod
from hyperflow.engines.kubeflow import discovery
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.preflight.check import OVERLAY, Check, labels, read
from hyperflow.engines.kubeflow.resources import (
    AUTHORIZATION_POLICY,
    CLUSTER_RUNTIME,
    NAMESPACE,
    SERVICE,
    SERVING_RUNTIME,
)
from hyperflow.errors import InvalidParameter
from hyperflow.specs import ServeSpec

LOCAL_GATEWAY = ("knative-local-gateway.istio-system.svc.cluster.local", 80)
"""Where a Knative service's address inside the cluster leads, with Istio as Knative's network."""

POLICY = "hyperflow-predictor"

_PATIENCE = 3.0
"""Seconds for a gateway to accept a connection; one that a network policy forbids is never answered."""


def runtime(cluster: Cluster, name: str) -> Check:
    """Check that the serving runtime is there."""
    title = f"serving runtime {name}"
    resource, runtime_name, remedy = {
        "hyperflow": (SERVING_RUNTIME, "hyperflow", OVERLAY),
        "tensorflow": (CLUSTER_RUNTIME, "kserve-tensorflow-serving", "install KServe's cluster resources"),
    }[name]
    found, refusal = read(cluster, resource, runtime_name)
    if refusal:
        return Check(title, "warn", refusal)
    if found is None:
        return Check(title, "fail", f"there is no {resource.kind} {runtime_name}", remedy)
    if found["spec"].get("disabled"):
        return Check(title, "fail", f"{resource.kind} {runtime_name} is disabled", "set its spec.disabled to false")
    return Check(title, "ok", f"{resource.kind} {runtime_name}")


def mode(cluster: Cluster, spec: ServeSpec) -> Check:
    """Check that this KServe, in the mode that the service has or is to have, scales and splits requests as asked."""
    title = "KServe's mode"
    if SERVICE.plural not in discovery.kinds(cluster, SERVICE):
        return Check(title, "ok", "not known: KServe is not installed")
    kserve = discovery.kserve_of(cluster, cluster.get(SERVICE, spec.name))
    try:
        kserve.check(spec)
    except InvalidParameter as error:
        return Check(title, "fail", error.what, error.remedy)
    return Check(title, "ok", kserve.mode)


def mesh(cluster: Cluster) -> Check:
    """Tell whether pods of the namespace are in an Istio mesh, and whether steps may call the predictor there."""
    namespace, refusal = read(cluster, NAMESPACE, cluster.namespace)
    given = labels(namespace)
    sidecars = given.get("istio-injection") == "enabled" or "istio.io/rev" in given
    ambient = given.get("istio.io/dataplane-mode") == "ambient"
    if refusal or not (sidecars or ambient):
        return Check("mesh", "ok", refusal or "none in this namespace")
    kind = f"Istio, {'ambient' if ambient else 'with sidecars'}"
    policy, refusal = read(cluster, AUTHORIZATION_POLICY, POLICY)
    if policy is not None:
        return Check("mesh", "ok", f"{kind}; the policy {POLICY} lets steps call the predictor")
    command = f"kubectl apply -n {cluster.namespace} -f manifests/components/mesh/policies.yaml"
    remedy = f"{command}, so that steps may call the predictor (overlays standard and knative have it)"
    return Check("mesh", "warn", f"{kind}; {refusal or f'there is no AuthorizationPolicy {POLICY}'}", remedy)


def local_gateway(cluster: Cluster) -> Check:
    """Check that a pod here can open a connection to Knative's local gateway, which a network policy may forbid."""
    title = "local gateway"
    if client.Access.from_environment().ingress:
        return Check(title, "ok", "not needed: requests go through an ingress")
    if not pod.is_inside():
        return Check(title, "ok", "looked at in the cluster only, by the step `check`")
    if SERVICE.plural not in discovery.kinds(cluster, SERVICE) or discovery.kserve_of(cluster).mode != "Knative":
        return Check(title, "ok", "not needed: services are not Knative's")
    host, port = LOCAL_GATEWAY
    try:
        socket.create_connection((host, port), _PATIENCE).close()
    except socket.gaierror:
        return Check(title, "ok", f"there is no {host}")
    except OSError as error:
        remedy = "have the platform's admin run: kubectl apply -f manifests/admin/local-gateway.yaml"
        return Check(title, "fail", f"{host}:{port} takes no connection from here: {error}", remedy)
    return Check(title, "ok", f"{host} takes connections from here")
