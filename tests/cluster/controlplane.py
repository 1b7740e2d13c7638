"""A Kubernetes control plane with the operators, as processes on this machine.

    with control_plane() as cluster:
        cluster.install_crds()
        cluster.start_training_operator()
        client = cluster.client()

etcd, kube-apiserver and kube-controller-manager are the released ones; there is no scheduler and no kubelet, so pods
stay Pending. There is no service network either: webhooks are called by URL on the loopback. Every process dies with
the one that started it, and everything written is under one temporary folder.
"""

from __future__ import annotations

import base64
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client as k8s
from kubernetes import config
from kubernetes.utils import create_from_dict

from tests.cluster.binaries import default_cache, find
from tests.cluster.certificates import Certificates, create_certificates
from tests.cluster.processes import Server, free_ports

CONFIG = Path(__file__).parent / "config"
ADMIN_TOKEN = "hyperflow-test-admin"
CONTROLLER_TOKEN = "hyperflow-test-controller-manager"
OPERATORS_TOKEN = "hyperflow-test-operators"

_TOKENS = f"""\
{ADMIN_TOKEN},admin,admin,system:masters
{CONTROLLER_TOKEN},system:kube-controller-manager,controller-manager,
{OPERATORS_TOKEN},operators,operators,system:masters
"""
_AUTHORITY = "training-operator-ca"
_WEBHOOK_NAMES = ["training-operator.kubeflow.svc", "kserve-webhook-server-service.kserve.svc"]
# The Training Operator waits for this file before it starts, but serves from $TMPDIR.
_OPERATOR_MARKER = Path("/tmp/k8s-webhook-server/serving-certs/tls.crt")


class ControlPlane:
    """Servers of one test cluster; start it with `control_plane`."""

    def __init__(self, folder: Path, cache: Path) -> None:
        """Prepare keys and configuration in `folder` for the binaries in `cache`; nothing runs yet."""
        self.folder = folder
        self.servers: dict[str, Server] = {}
        self._cache = cache
        # Webhook servers look for their certificate below their temporary folder.
        self._certificates = create_certificates(
            folder / "tmp" / "k8s-webhook-server" / "serving-certs", _AUTHORITY, _WEBHOOK_NAMES
        )
        (folder / "logs").mkdir()
        self._etcd_port, self._etcd_peer_port, self._port, self._manager_port = free_ports(4)
        self.kubeconfig = self.kubeconfig_for(ADMIN_TOKEN, "admin")

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def certificates(self) -> Certificates:
        """Keys and certificates of the cluster, for a proxy in front of the API server."""
        return self._certificates

    def has(self, *names: str) -> bool:
        """Return whether the binaries called `names` are there."""
        return all(find(name, self._cache) for name in names)

    def start(self) -> None:
        """Start etcd, the API server and the controller manager, and return when they are ready."""
        self._start_etcd()
        self._start_api_server()
        self._start_controller_manager()

    def stop(self) -> None:
        """Stop every server, those that were started last first."""
        for server in reversed(self.servers.values()):
            server.stop()

    def kubeconfig_for(self, token: str, name: str, url: str | None = None) -> Path:
        """Write a kubeconfig for the bearer of `token`, through `url` where a proxy stands in front."""
        path = self.folder / f"{name}.kubeconfig"
        cluster = {"server": url or self.url, "certificate-authority": str(self._certificates.authority)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": "default"}}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))
        return path

    def client(self) -> k8s.ApiClient:
        """Return a new client with all rights."""
        return config.new_client_from_config(str(self.kubeconfig))

    def create(self, objects: Sequence[dict[str, Any]]) -> None:
        """Create objects of Kubernetes' own kinds."""
        with self.client() as api:
            for obj in objects:
                create_from_dict(api, obj)

    def install_crds(self) -> list[str]:
        """Install the CRDs of Katib, the Training Operator and KServe, and return their names when they are served."""
        crds = load_crds(self._cache)
        self.create(crds)
        names = [crd["metadata"]["name"] for crd in crds]
        with self.client() as api:
            _wait_until_served(k8s.ApiextensionsV1Api(api), set(names))
        return names

    def start_training_operator(self) -> Server:
        """Start the Training Operator for TFJobs, with its webhook."""
        _OPERATOR_MARKER.parent.mkdir(parents=True, exist_ok=True)
        _OPERATOR_MARKER.touch()
        webhook_port, health_port = free_ports(2)
        self.create(self._webhooks_by_url(_load(CONFIG / "training-operator.yaml"), webhook_port))
        self.create([self._operator_secret()])
        arguments = ["--enable-scheme=tfjob", f"--webhook-server-port={webhook_port}", "--metrics-bind-address=0"]
        arguments += [f"--health-probe-bind-address=127.0.0.1:{health_port}"]
        return self._start_operator("training-operator", arguments, health_port)

    def start_kserve(self) -> Server:
        """Start the KServe controller in Standard mode, with its webhooks."""
        webhook_port, health_port = free_ports(2)
        self.create(self._webhooks_by_url(_load(CONFIG / "kserve.yaml"), webhook_port))
        arguments = [
            f"--webhook-port={webhook_port}",
            "--metrics-addr=0",
            f"--health-probe-addr=127.0.0.1:{health_port}",
        ]
        return self._start_operator("kserve-controller", arguments, health_port, {"POD_NAMESPACE": "kserve"})

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._etcd_peer_port}"
        arguments = [f"--data-dir={self.folder / 'etcd'}", "--name=test", "--unsafe-no-fsync", "--log-level=warn"]
        arguments += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        arguments += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        arguments += [f"--initial-cluster=test={peer}"]
        self._start("etcd", arguments, f"{client}/health")

    def _start_api_server(self) -> None:
        tokens = self.folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(_TOKENS)
        key = self._certificates.service_accounts
        arguments = [f"--etcd-servers=http://127.0.0.1:{self._etcd_port}", f"--secure-port={self._port}"]
        arguments += ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]
        arguments += [f"--tls-cert-file={self._certificates.certificate}"]
        arguments += [f"--tls-private-key-file={self._certificates.key}"]
        arguments += ["--authorization-mode=RBAC", f"--token-auth-file={tokens}", "--allow-privileged=true"]
        arguments += [f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"]
        arguments += ["--service-account-issuer=https://kubernetes.default.svc"]
        arguments += ["--service-cluster-ip-range=10.0.0.0/16"]
        self._start("kube-apiserver", arguments, f"{self.url}/readyz")

    def _start_controller_manager(self) -> None:
        kubeconfig = self.kubeconfig_for(CONTROLLER_TOKEN, "controller-manager")
        arguments = [f"--kubeconfig={kubeconfig}", "--use-service-account-credentials=true", "--leader-elect=false"]
        arguments += ["--bind-address=127.0.0.1", f"--secure-port={self._manager_port}"]
        arguments += [f"--service-account-private-key-file={self._certificates.service_accounts}"]
        arguments += [
            f"--root-ca-file={self._certificates.authority}",
            f"--flex-volume-plugin-dir={self.folder / 'flex'}",
        ]
        self._start("kube-controller-manager", arguments, f"https://127.0.0.1:{self._manager_port}/healthz")

    def _start_operator(
        self, name: str, arguments: list[str], health_port: int, environment: dict[str, str] | None = None
    ) -> Server:
        environment = {
            "KUBECONFIG": str(self.kubeconfig_for(OPERATORS_TOKEN, "operators")),
            "TMPDIR": str(self.folder / "tmp"),
        } | (environment or {})
        return self._start(name, arguments, f"http://127.0.0.1:{health_port}/readyz", environment)

    def _start(
        self, name: str, arguments: list[str], ready_url: str, environment: dict[str, str] | None = None
    ) -> Server:
        binary = find(name, self._cache)
        if binary is None:
            raise FileNotFoundError(f"{name} is not built; run python -m tests.cluster.binaries")
        log = self.folder / "logs" / f"{name}.log"
        server = self.servers[name] = Server(name, [str(binary), *arguments], ready_url, log, environment or {})
        server.start()
        return server

    def _webhooks_by_url(self, objects: list[dict[str, Any]], port: int) -> list[dict[str, Any]]:
        """Turn each webhook's service reference into a URL on the loopback, with the authority to trust."""
        authority = _base64(self._certificates.authority)
        for webhook in (webhook for obj in objects for webhook in obj.get("webhooks", [])):
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": authority}
        return objects

    def _operator_secret(self) -> dict[str, Any]:
        """Return the Secret from which the operator takes its certificates; it makes new ones if these are missing."""
        files = ("ca.crt", "ca.key", "tls.crt", "tls.key")
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "training-operator-webhook-cert", "namespace": "kubeflow"},
            "data": {name: _base64(self._certificates.folder / name) for name in files},
        }


@contextmanager
def control_plane(cache: Path | None = None) -> Iterator[ControlPlane]:
    """Run etcd, the API server and the controller manager; operators are started with the methods of the result."""
    with tempfile.TemporaryDirectory(prefix="hyperflow-cluster-") as folder:
        cluster = ControlPlane(Path(folder), cache or default_cache())
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def load_crds(cache: Path) -> list[dict[str, Any]]:
    """Return the CRDs: those of the modules that were built, then those in `HYPERFLOW_CRDS` or ../shared/crds."""
    beside = Path(__file__).parents[2].parent / "shared" / "crds"
    folders = [cache / "crds", Path(os.environ.get("HYPERFLOW_CRDS") or beside)]
    files = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
    objects = [obj for path in files for obj in _load(path) if obj.get("kind") == "CustomResourceDefinition"]
    return list({obj["metadata"]["name"]: obj for obj in objects}.values())


def _wait_until_served(definitions: k8s.ApiextensionsV1Api, names: set[str], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while waiting := names - _served(definitions):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not served after {seconds:.0f} s: {', '.join(sorted(waiting))}")
        time.sleep(0.05)


def _served(definitions: k8s.ApiextensionsV1Api) -> set[str]:
    return {
        crd.metadata.name
        for crd in definitions.list_custom_resource_definition().items
        for condition in crd.status.conditions or []
        if condition.type == "Established" and condition.status == "True"
    }


def _load(path: Path) -> list[dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [obj for obj in yaml.load_all(path.read_text(), Loader=loader) if obj]


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
