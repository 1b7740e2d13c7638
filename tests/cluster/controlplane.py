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
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client as k8s
from kubernetes import config
from kubernetes.utils import create_from_dict

from tests.cluster.binaries import default_cache, find
from tests.cluster.certificates import Certificates, create_certificates
from tests.cluster.crds import load_crds, load_yaml, wait_until_served
from tests.cluster.processes import Server, free_ports

CONFIG = Path(__file__).parent / "config"
ADMIN, CONTROLLER_MANAGER, OPERATORS = "admin", "system:kube-controller-manager", "operators"
KATIB_CONTROLLER = "system:serviceaccount:kubeflow:katib-controller"

Flags = Mapping[str, object]

_TOKENS = {
    ADMIN: "test-admin",
    CONTROLLER_MANAGER: "test-controller-manager",
    OPERATORS: "test-operators",
    KATIB_CONTROLLER: "test-katib-controller",
}
_CONNECTIONS = 100
_MASTERS = (ADMIN, OPERATORS)
_ARGO_HEALTH = "http://127.0.0.1:6060/healthz"
"""Argo's controller has no flag for the port."""

_WEBHOOK_NAMES = ["training-operator.kubeflow.svc", "kserve-webhook-server-service.kserve.svc"]
# The Training Operator waits for this file before it starts, but serves the one below $TMPDIR.
_OPERATOR_MARKER = Path("/tmp/k8s-webhook-server/serving-certs/tls.crt")


class ControlPlane:
    """Servers of one test cluster; start it with `control_plane`."""

    def __init__(self, folder: Path, cache: Path) -> None:
        """Prepare keys and configuration in `folder` for the binaries in `cache`; nothing runs yet."""
        self.folder = folder
        self.servers: dict[str, Server] = {}
        self._cache = cache
        # Webhook servers look for their certificate at this place below their temporary folder.
        serving = folder / "tmp" / "k8s-webhook-server" / "serving-certs"
        self.certificates: Certificates = create_certificates(serving, "training-operator-ca", _WEBHOOK_NAMES)
        (folder / "logs").mkdir()
        self._etcd_port, self._etcd_peer_port, self._port, self._manager_port = free_ports(4)
        self.kubeconfig = self.kubeconfig_of(ADMIN)

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """Port of the API server."""
        return self._port

    @property
    def etcd_url(self) -> str:
        """Address at which etcd answers clients."""
        return f"http://127.0.0.1:{self._etcd_port}"

    def has(self, *names: str) -> bool:
        """Return whether the binaries called `names` are there."""
        return all(find(name, self._cache) for name in names)

    def start(self) -> None:
        """Start etcd, the API server and the controller manager, and return when they are ready."""
        self._start_etcd()
        self._start_api_server()
        self._start_controller_manager()

    def stop(self) -> None:
        """End every server, those that were started last first; nothing that they hold is wanted any more."""
        for server in reversed(self.servers.values()):
            server.kill()

    def kubeconfig_of(self, user: str) -> Path:
        """Write a kubeconfig for one of the cluster's own users."""
        return self.kubeconfig_for(user, _TOKENS[user])

    def kubeconfig_for(self, user: str, token: str, url: str | None = None) -> Path:
        """Write a kubeconfig for the bearer of `token`, through `url` where a proxy stands in front."""
        path = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        cluster = {"server": url or self.url, "certificate-authority": str(self.certificates.authority)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user, "namespace": "default"}}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content))
        return path

    def client(self) -> k8s.ApiClient:
        """Return a new client with all rights, for many threads at once."""
        configuration = k8s.Configuration()
        config.load_kube_config(str(self.kubeconfig), client_configuration=configuration)
        configuration.connection_pool_maxsize = _CONNECTIONS
        return k8s.ApiClient(configuration)

    def create(self, objects: Sequence[dict[str, Any]]) -> None:
        """Create objects of Kubernetes' own kinds."""
        with self.client() as api:
            for obj in objects:
                create_from_dict(api, obj)

    def label_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Give a namespace labels."""
        with self.client() as api:
            k8s.CoreV1Api(api).patch_namespace(name, {"metadata": {"labels": dict(labels)}})

    def delete_webhooks(self, objects: Sequence[dict[str, Any]]) -> None:
        """Delete webhook configurations."""
        with self.client() as api:
            admission = k8s.AdmissionregistrationV1Api(api)
            for obj in objects:
                kind = "mutating" if obj["kind"].startswith("Mutating") else "validating"
                getattr(admission, f"delete_{kind}_webhook_configuration")(obj["metadata"]["name"])

    def install_crds(self, without: Collection[str] = ()) -> list[str]:
        """Install the CRDs of all operators, and return their names when they are served.

        Args:
            without: API groups that are not to be installed.
        """
        crds = [crd for crd in load_crds(self._cache) if crd["spec"]["group"] not in without]
        names = [crd["metadata"]["name"] for crd in crds]
        self.create(crds)
        with self.client() as api:
            wait_until_served(api, set(names))
        return names

    def start_training_operator(self) -> Server:
        """Start the Training Operator for TFJobs, with its webhook."""
        _OPERATOR_MARKER.parent.mkdir(parents=True, exist_ok=True)
        _OPERATOR_MARKER.touch()
        webhook_port, health_port = free_ports(2)
        self.create(self.webhooks_by_url(load_yaml(CONFIG / "training-operator.yaml"), webhook_port))
        self.create([self._operator_secret()])
        flags = {
            "enable-scheme": "tfjob",
            "webhook-server-port": webhook_port,
            "metrics-bind-address": 0,
            "health-probe-bind-address": f"127.0.0.1:{health_port}",
        }
        return self._start_operator("training-operator", flags, health_port)

    def start_trainer(self) -> None:
        """Start Kubeflow Trainer and the JobSet controller that it stands on, with their webhooks."""
        for name, group in (("jobset-controller", "jobset.x-k8s.io"), ("trainer-controller", "trainer.kubeflow.org")):
            webhook_port, health_port = free_ports(2)
            objects = load_yaml(CONFIG / f"{name.removesuffix('-controller')}.yaml")
            self.create(self.webhooks_by_url(objects, webhook_port))
            certificates = "internalCertManagement" if "jobset" in name else "certManagement"
            settings = {
                "apiVersion": f"config.{group}/v1alpha1",
                "kind": "Configuration",
                "webhook": {"port": webhook_port},
                "metrics": {"bindAddress": "0"},
                "health": {"healthProbeBindAddress": f"127.0.0.1:{health_port}"},
                "leaderElection": {"leaderElect": False},
                certificates: {"enable": False},
            }
            path = self.folder / f"{name}.yaml"
            path.write_text(yaml.safe_dump(settings))
            self._start_operator(name, {"config": path}, health_port)

    def start_kserve(self) -> Server:
        """Start the KServe controller in Standard mode, with its webhooks."""
        webhook_port, health_port = free_ports(2)
        self.create(self.webhooks_by_url(load_yaml(CONFIG / "kserve.yaml"), webhook_port))
        flags = {
            "webhook-port": webhook_port,
            "metrics-addr": 0,
            "health-probe-addr": f"127.0.0.1:{health_port}",
        }
        return self._start_operator("kserve-controller", flags, health_port)

    def start_workflow_controller(self, namespace: str, executor: str) -> Server:
        """Start Argo's controller for the Workflows of one namespace, in which its configuration is too."""
        flags = {
            "kubeconfig": self.kubeconfig_of(OPERATORS),
            "namespace": namespace,
            "namespaced": "true",
            "managed-namespace": namespace,
            "executor-image": executor,
        }
        # If not told otherwise, it looks at a Workflow every ten seconds at most, and makes a pod anew, as if it had
        # never been, that goes within ten seconds of its start. The steps of a test are young.
        times = {"DEFAULT_REQUEUE_TIME": "1s", "RECENTLY_STARTED_POD_DURATION": "1s"}
        environment = {"LEADER_ELECTION_DISABLE": "true", **times}
        return self.start_server("workflow-controller", flags, _ARGO_HEALTH, environment)

    def start_server(
        self,
        name: str,
        flags: Flags,
        ready_url: str,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        wait: bool = True,
    ) -> Server:
        """Start the binary called `name`, by the command `before` where there is one, and wait until it is ready."""
        binary = find(name, self._cache)
        if binary is None:
            raise FileNotFoundError(f"{name} is not built: run python -m tests.cluster.binaries")
        command = [*before, str(binary), *(f"--{flag}={value}" for flag, value in flags.items())]
        server = Server(name, command, ready_url, self.folder / "logs" / f"{name}.log", environment or {})
        self.servers[name] = server
        server.launch()
        if wait:
            server.wait_until_ready()
        return server

    def webhooks_by_url(self, objects: list[dict[str, Any]], port: int) -> list[dict[str, Any]]:
        """Turn each webhook's service reference into a URL on the loopback, with the authority to trust."""
        authority = _base64(self.certificates.authority)
        for webhook in (webhook for obj in objects for webhook in obj.get("webhooks", [])):
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": authority}
        return objects

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._etcd_peer_port}"
        flags = {
            "name": "test",
            "data-dir": self.folder / "etcd",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"test={peer}",
        }
        self.start_server("etcd", flags, f"{client}/health")

    def _start_api_server(self) -> None:
        flags = {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self._port,
            "tls-cert-file": self.certificates.certificate,
            "tls-private-key-file": self.certificates.key,
            "authorization-mode": "RBAC",
            "token-auth-file": self._write_tokens(),
            "allow-privileged": "true",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self.certificates.service_accounts,
            "service-account-signing-key-file": self.certificates.service_accounts,
            "service-cluster-ip-range": "10.0.0.0/16",
            # An endpoint on the loopback is refused, so the service `kubernetes` goes without.
            "endpoint-reconciler-type": "none",
        }
        self.start_server("kube-apiserver", flags, f"{self.url}/readyz")

    def _start_controller_manager(self) -> None:
        flags = {
            "kubeconfig": self.kubeconfig_of(CONTROLLER_MANAGER),
            "use-service-account-credentials": "true",
            "service-account-private-key-file": self.certificates.service_accounts,
            "root-ca-file": self.certificates.authority,
            "leader-elect": "false",
            "bind-address": "127.0.0.1",
            "secure-port": self._manager_port,
            "flex-volume-plugin-dir": self.folder / "flex-volume",
            "pvclaimbinder-sync-period": "1s",
            # The one node is a stand-in without a heartbeat, which would count as lost after a minute.
            "controllers": "*,-node-lifecycle-controller,-taint-eviction-controller",
        }
        self.start_server("kube-controller-manager", flags, f"https://127.0.0.1:{self._manager_port}/healthz")

    def _start_operator(self, name: str, flags: Flags, health_port: int) -> Server:
        environment = {"KUBECONFIG": str(self.kubeconfig_of(OPERATORS)), "TMPDIR": str(self.folder / "tmp")}
        return self.start_server(name, flags, f"http://127.0.0.1:{health_port}/readyz", environment)

    def _write_tokens(self) -> Path:
        path = self.folder / "tokens.csv"
        path.touch(mode=0o600)
        groups = {user: "system:masters" if user in _MASTERS else "" for user in _TOKENS}
        path.write_text("".join(f"{token},{user},{user},{groups[user]}\n" for user, token in _TOKENS.items()))
        return path

    def _operator_secret(self) -> dict[str, Any]:
        """Return the Secret from which the operator takes its certificates; it would make others if it were empty."""
        files = ("ca.crt", "ca.key", "tls.crt", "tls.key")
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "training-operator-webhook-cert", "namespace": "kubeflow"},
            "data": {name: _base64(self.certificates.folder / name) for name in files},
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


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
