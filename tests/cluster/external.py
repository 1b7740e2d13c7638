"""The cluster of `KUBECONFIG`, where it has what the tests need."""

from __future__ import annotations

import os

from kubernetes import client as k8s
from kubernetes import config

from tests.cluster.api import Api
from tests.kubeflow.store import Refusal

KUBECONFIG = os.environ.get("KUBECONFIG", "")
"""As it was when the tests began; each test then has one of its own."""

_WANTED = {"experiments.kubeflow.org", "tfjobs.kubeflow.org", "inferenceservices.serving.kserve.io"}


def external_cluster() -> Api | None:
    """Return the cluster of `KUBECONFIG`, or None where there is none or it lacks a CRD.

    Only what admits objects can be asked there: its pods would want images and nodes of their own.
    """
    if not KUBECONFIG:
        return None
    configuration = k8s.Configuration()
    config.load_kube_config(KUBECONFIG, client_configuration=configuration)
    api = Api(k8s.ApiClient(configuration), patience=10)
    try:
        found = api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
    except Refusal:
        return None
    return api if {item["metadata"]["name"] for item in found} >= _WANTED else None
