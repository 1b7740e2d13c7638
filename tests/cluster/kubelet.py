"""A kubelet and scheduler for a cluster that has none: pods run as processes of this machine.

It registers one node, binds every pod to it, starts the containers' own commands, probes them, reports phase, exit
codes and container statuses, restarts what is to be restarted, and answers the API server when that asks for logs.
Containers that share their process namespace see each other and nobody else. What it does not have: images (the
command's `python` is this one, and a few images have a program), a network of its own (see network.py), liveness
probes, limits.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

from tests.cluster.api import Api
from tests.cluster.certificates import Certificates
from tests.cluster.isolated import Host, IsolatedPod, base_environment, is_of_workflow
from tests.cluster.katib import Image
from tests.cluster.logs import Logs, LogServer
from tests.cluster.network import Network
from tests.cluster.pods import NODE, Node, Pod
from tests.kubeflow.store import Object


class Kubelet:
    """The node of a test cluster.

    Args:
        api: The API server.
        folder: For logs and volumes.
        certificates: What the log server shows the API server.
    """

    def __init__(self, api: Api, folder: Path, certificates: Certificates) -> None:
        self.api = api
        self.logs, self.network = Logs(), Network(api)
        self.images: dict[str, Image] = {}
        self._node = Node(api, self.logs, self.network, self.images, folder, certificates.authority)
        self._host = Host(NODE, api, self.logs, self.network, folder, base_environment(api.host))
        self._server = LogServer(self.logs, self._execute, _tls(certificates))
        self._volumes: dict[str, Path] = {}
        self._pods: dict[str, Pod | IsolatedPod] = {}
        self._stop = threading.Event()

    def start(self) -> None:
        """Register the node, and run pods from now on."""
        self._server.start()
        self.api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._server.port}},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}],
        }
        self.api.patch(f"/api/v1/nodes/{NODE}/status", {"status": status})
        threading.Thread(target=self._follow, daemon=True).start()

    def stop(self) -> None:
        """End all pods' processes."""
        self._stop.set()
        for namespace in list(self._volumes):
            self.leave(namespace)
        self._server.stop()

    def serve(self, namespace: str, volume: Path) -> None:
        """Run the pods of a namespace, with a folder in the claim's place."""
        self._volumes[namespace] = volume

    def leave(self, namespace: str) -> None:
        """Run no more pods of a namespace, and return when their processes have ended."""
        self._volumes.pop(namespace, None)
        pods = [pod for pod in list(self._pods.values()) if pod.namespace == namespace]
        for pod in pods:
            pod.end(at_once=True)
        for pod in pods:
            pod.join()

    def lose(self, uid: str) -> None:
        """Kill a pod's processes without a word to anybody, as the loss of its node does."""
        pod = self._pods[uid]
        assert isinstance(pod, IsolatedPod)
        pod.lose()

    def running(self, namespace: str) -> list[str]:
        """Return the names of the pods of a namespace that have a process now."""
        return [pod.name for pod in list(self._pods.values()) if pod.namespace == namespace and pod.is_running]

    def _follow(self) -> None:
        for kind, item in self.api.watch("/api/v1/pods", self._stop):
            metadata = item["metadata"]
            pod = self._pods.get(metadata["uid"])
            if pod is not None and (kind == "DELETED" or "deletionTimestamp" in metadata):
                pod.end()
            elif pod is None and kind == "ADDED":
                self._admit(item)

    def _admit(self, item: Object) -> None:
        volume = self._volumes.get(item["metadata"]["namespace"])
        if volume is None or item["spec"].get("nodeName") or not self._node.can_run(item):
            return
        isolated = is_of_workflow(item)
        pod = IsolatedPod(self._host, item, volume) if isolated else Pod(self._node, item, volume)
        self._pods[pod.uid] = pod
        pod.start()

    def _execute(self, namespace: str, name: str, container: str, command: list[str]) -> tuple[int, bytes, bytes]:
        for pod in list(self._pods.values()):
            if isinstance(pod, IsolatedPod) and (pod.namespace, pod.name, pod.is_running) == (namespace, name, True):
                return pod.execute(container, command)
        return 126, b"", b"no such container runs"


def _tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    return context
