"""The cluster of `KUBECONFIG`, where it serves what the tests ask of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus

import urllib3
from kubernetes import client as k8s
from kubernetes import config

from tests.cluster.api import Api
from tests.kubeflow.store import Refusal

KUBECONFIG = os.environ.get("KUBECONFIG", "")
"""As it was when the tests began; each test then has one of its own."""

_SERVED = {
    "/apis/kubeflow.org/v1beta1": "experiments",
    "/apis/kubeflow.org/v1": "tfjobs",
    "/apis/serving.kserve.io/v1beta1": "inferenceservices",
}
_PATIENCE = 5.0


@dataclass(frozen=True)
class Target:
    """Whom to ask what is admitted, and for which namespace."""

    api: Api
    namespace: str = "default"


@cache
def external_cluster() -> Target | str:
    """Return the cluster of `KUBECONFIG`, or why none is used.

    Only what admits objects can be asked there: its pods would want images and nodes of their own.
    """
    if not KUBECONFIG:
        return "it is not set"
    configuration = k8s.Configuration()
    try:
        config.load_kube_config(KUBECONFIG, client_configuration=configuration)
        _, active = config.list_kube_config_contexts(KUBECONFIG)
        api = Api(k8s.ApiClient(configuration), patience=_PATIENCE)
        absent = [plural for path, plural in _SERVED.items() if not _serves(api, path, plural)]
    except (config.ConfigException, urllib3.exceptions.HTTPError, OSError, Refusal) as error:
        return str(error)
    if absent:
        return f"its cluster does not serve {', '.join(absent)}"
    return Target(api, active["context"].get("namespace", "default"))


def _serves(api: Api, path: str, plural: str) -> bool:
    try:
        found = api.get(path)["resources"]
    except Refusal as refusal:
        if refusal.code == HTTPStatus.NOT_FOUND:
            return False
        raise
    return any(resource["name"] == plural for resource in found)
