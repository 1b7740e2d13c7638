"""A real cluster on this machine: its API server and operators once a session, and a namespace for each test."""

from __future__ import annotations

import atexit
import contextlib
import os
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

from hyperflow.engines.kubeflow import KubeflowEngine, preflight
from hyperflow.engines.kubeflow.cluster import Cluster
from tests.cluster.api import Api
from tests.cluster.binaries import KATIB, default_cache, find, missing
from tests.cluster.check import wait_for
from tests.cluster.controlplane import ControlPlane, control_plane
from tests.cluster.crds import load_yaml
from tests.cluster.katib import Katib
from tests.cluster.kubelet import Kubelet
from tests.cluster.modules import CONTROL_PLANE
from tests.cluster.processes import ServerError
from tests.cluster.proxy import Proxy
from tests.cluster.resolver import Resolver
from tests.kubeflow.store import Object, Refusal
from tests.trainers.line import START_SECONDS

MANIFESTS = Path(__file__).parents[2] / "manifests" / "base"
RUNTIMES = MANIFESTS.parent / "components" / "trainer" / "training-runtimes.yaml"
ACCOUNT = "default-editor"
"""The service account that KFP runs steps as; manifests/base/rbac.yaml gives it its rights."""

OPERATOR, KSERVE = "training-operator", "kserve-controller"
TRAINER = ("jobset-controller", "trainer-controller")

SEARCHED = {"katib.kubeflow.org/metrics-collector-injection": "enabled"}
"""Label of a namespace in which Katib works."""

_GRACE = 1.0
_NO_HURRY = {START_SECONDS: "1"}
"""Katib's collector has to start before a trial is over; a trainer that imports anything gives it the time."""


@dataclass(frozen=True)
class Machinery:
    """What runs once for all tests of a session."""

    cluster: ControlPlane
    api: Api
    kubelet: Kubelet
    katib: Katib | None


def need(*names: str) -> None:
    """Skip the test where the control plane is not built, or an operator that the test needs."""
    reasons = missing(default_cache())
    absent = [name for name in (*CONTROL_PLANE, *names) if name in reasons]
    if absent:
        pytest.skip(f"not here: {', '.join(absent)}")


def machinery() -> Machinery:
    """Start everything that is built, at the first call, until this process ends.

    Raises:
        ServerError: A server does not start; it is not tried again for each test.
    """
    made = _machinery()
    if isinstance(made, ServerError):
        raise made
    return made


@cache
def _machinery() -> Machinery | ServerError:
    try:
        return _start()
    except ServerError as error:
        return error


def _start() -> Machinery:
    stack = contextlib.ExitStack()
    cluster = stack.enter_context(control_plane())
    atexit.register(stack.close)  # after the temporary folder's own, so that it runs before
    return start_on(cluster, stack)


def start_on(cluster: ControlPlane, stack: contextlib.ExitStack, without: Collection[str] = ()) -> Machinery:
    """Start the operators of all API groups but some, and the node, on a control plane."""
    api = Api(cluster.client())
    kubelet = Kubelet(api, cluster.folder / "logs", cluster.certificates)
    has_katib = "kubeflow.org" not in without and not set(KATIB) & set(missing(default_cache()))
    katib = _launch_katib(cluster, kubelet, stack) if has_katib else None
    cluster.install_crds(without)
    # The garbage collector looks for new kinds every half minute; one that starts now has them at once.
    manager = cluster.servers["kube-controller-manager"]
    manager.stop()
    manager.start()
    if cluster.has(OPERATOR) and "kubeflow.org" not in without:
        cluster.start_training_operator()
    if cluster.has(*TRAINER) and "trainer.kubeflow.org" not in without:
        cluster.start_trainer()
    if cluster.has(KSERVE):
        cluster.start_kserve()
    if katib is not None:
        katib.start()
        cluster.label_namespace("default", SEARCHED)
    kubelet.start()
    stack.callback(kubelet.stop)
    return Machinery(cluster, api, kubelet, katib)


def _launch_katib(cluster: ControlPlane, kubelet: Kubelet, stack: contextlib.ExitStack) -> Katib:
    known: dict[str, tuple[str, int]] = {}
    resolver = Resolver(kubelet.network.endpoint, known)
    resolver.start()
    stack.callback(resolver.stop)
    katib = Katib(cluster, resolver.url, default_cache())
    known.update(katib.services)
    kubelet.images.update(katib.images)
    katib.launch()
    return katib


@dataclass
class World:
    """One namespace, the engine that works in it, and the proxy between the engine and the API server."""

    namespace: str
    volume: Path
    proxy: Proxy
    engine: KubeflowEngine
    kubeconfig: Path
    token_file: Path
    parts: Machinery = field(default_factory=machinery)

    @property
    def api(self) -> Api:
        """The API server, with all rights and without the proxy."""
        return self.parts.api

    def path(self, plural: str, name: str = "") -> str:
        """Return the URL path of some objects of the namespace."""
        return collection(self.namespace, plural, name)

    def items(self, plural: str) -> list[Object]:
        """Return all objects of a kind in the namespace."""
        found: list[Object] = self.api.get(self.path(plural))["items"]
        return found


_APIS = {
    "experiments": "/apis/kubeflow.org/v1beta1",
    "trials": "/apis/kubeflow.org/v1beta1",
    "tfjobs": "/apis/kubeflow.org/v1",
    "trainjobs": "/apis/trainer.kubeflow.org/v1alpha1",
    "trainingruntimes": "/apis/trainer.kubeflow.org/v1alpha1",
    "inferenceservices": "/apis/serving.kserve.io/v1beta1",
    "servingruntimes": "/apis/serving.kserve.io/v1alpha1",
    "deployments": "/apis/apps/v1",
    "jobs": "/apis/batch/v1",
    "workflows": "/apis/argoproj.io/v1alpha1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
}


def collection(namespace: str, plural: str, name: str = "") -> str:
    """Return the URL path of a kind in a namespace, or of one object."""
    path = f"{_APIS.get(plural, '/api/v1')}/namespaces/{namespace}/{plural}"
    return f"{path}/{name}" if name else path


@contextmanager
def real_cluster_world(folder: Path, made: type[KubeflowEngine] = KubeflowEngine) -> Iterator[KubeflowEngine]:
    """Give an engine on a real API server, on the volume that HYPERFLOW_VOLUME names."""
    with cluster_world(folder, made=made) as world:
        yield world.engine


@contextmanager
def cluster_world(folder: Path, run_pods: bool = True, made: type[KubeflowEngine] = KubeflowEngine) -> Iterator[World]:
    """Give a fresh namespace with what manifests/ puts into it, and the engine behind a proxy."""
    need(OPERATOR)
    with contextlib.nullcontext() if run_pods else without_katib(), _namespace(folder, run_pods, made) as world:
        yield world


@contextmanager
def without_katib() -> Iterator[None]:
    """Have no Katib: nobody looks at Experiments and pods when they are made, and nobody takes them up."""
    katib = machinery().katib
    if katib is None:
        yield
        return
    katib.pause()
    try:
        yield
    finally:
        katib.resume()


@contextmanager
def _namespace(folder: Path, run_pods: bool, made: type[KubeflowEngine]) -> Iterator[World]:
    parts = machinery()
    namespace, volume = f"team-{uuid.uuid4().hex[:8]}", Path(os.environ["HYPERFLOW_VOLUME"])
    _prepare(parts.api, namespace, volume)
    with Proxy(parts.cluster.port, parts.cluster.certificates.authority) as proxy, parts.kubelet.network.names():
        token_file = folder / "token"
        token_file.write_text(new_token(parts.api, namespace))
        kubeconfig = _kubeconfig(folder, proxy.url, namespace, token_file)
        # A step runs in a pod: the model answers it at the address inside.
        environment = {"KUBECONFIG": str(kubeconfig), "KUBERNETES_SERVICE_HOST": "127.0.0.1", **_NO_HURRY}
        with patch.dict(os.environ, environment):
            if run_pods:
                parts.kubelet.serve(namespace, volume)
            engine = made(cluster=Cluster(patience=90), grace=_GRACE)
            try:
                yield World(namespace, volume, proxy, engine, kubeconfig, token_file, parts)
            finally:
                _leave(parts, namespace)


def _leave(parts: Machinery, namespace: str) -> None:
    """Delete a namespace, and be sure that nothing of its searches is left.

    Katib tells a search of the trials of all searches of its name, in whatever namespace they are.
    """
    searches = bool(_kinds(parts.api, "kubeflow.org/v1beta1"))
    for plural in ("experiments", "trials") if searches else ():
        parts.api.delete(collection(namespace, plural))
    parts.kubelet.leave(namespace)
    if searches:
        wait_for(lambda: not parts.api.get(collection(namespace, "trials"))["items"], "the end of all trials")
    parts.api.delete(f"/api/v1/namespaces/{namespace}")


def new_token(api: Api, namespace: str, bound_to: Object | None = None) -> str:
    """Ask for a token of the steps' service account; one bound to an object ends with it."""
    spec = {"expirationSeconds": 3600} | ({"boundObjectRef": bound_to} if bound_to else {})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = api.create(collection(namespace, "serviceaccounts", f"{ACCOUNT}/token"), request)
    return str(answer["status"]["token"])


def _prepare(api: Api, namespace: str, volume: Path) -> None:
    """Put the manifests' objects into a new namespace, and a volume behind the claim."""
    labels = {preflight.COLLECTOR_LABEL: "enabled"}  # as the profile controller gives to a profile's namespace
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    api.create("/api/v1/namespaces", space)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}
    api.create(collection(namespace, "serviceaccounts"), account)
    files = {"roles": "rbac.yaml", "rolebindings": "rbac.yaml"}
    if find(KSERVE, default_cache()):
        files["servingruntimes"] = "serving-runtime.yaml"
    for name, file in files.items():
        for item in load_yaml(MANIFESTS / file):
            if f"{item['kind'].lower()}s" == name:
                api.create(collection(namespace, name), item)
    if "trainingruntimes" in {kind["name"] for kind in _kinds(api, "trainer.kubeflow.org/v1alpha1")}:
        for item in load_yaml(RUNTIMES):
            api.create(collection(namespace, "trainingruntimes"), item)
    (claim,) = load_yaml(MANIFESTS / "claim.yaml")
    api.create("/api/v1/persistentvolumes", _volume(namespace, claim, volume))
    claim["spec"] |= {"storageClassName": "", "volumeName": namespace}
    api.create(collection(namespace, "persistentvolumeclaims"), claim)
    # After a restart of the API server, the controllers come back to it in their own time.
    wait_for(lambda: _is_ready(api, namespace), "a bound claim and a default service account", 90)


def _kinds(api: Api, group: str) -> list[Object]:
    try:
        found: list[Object] = api.get(f"/apis/{group}")["resources"]
    except Refusal:
        return []
    return found


def _volume(name: str, claim: Object, folder: Path) -> Object:
    spec = {
        "capacity": claim["spec"]["resources"]["requests"],
        "accessModes": claim["spec"]["accessModes"],
        "hostPath": {"path": str(folder)},
        "claimRef": {"namespace": name, "name": claim["metadata"]["name"]},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def _is_ready(api: Api, namespace: str) -> bool:
    try:
        api.get(collection(namespace, "serviceaccounts", "default"))
        claim = api.get(collection(namespace, "persistentvolumeclaims", "hyperflow"))
    except Refusal:
        return False
    return bool(claim.get("status", {}).get("phase") == "Bound")


def _kubeconfig(folder: Path, url: str, namespace: str, token_file: Path) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "step", "user": {"tokenFile": str(token_file)}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "step", "namespace": namespace}}],
        "current-context": "test",
    }
    path = folder / "step.kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path
