"""A kubelet and scheduler for a cluster that has none: pods run as processes of this machine.

It registers one node, binds every pod to it, starts the pod's own command, probes it, reports phase, exit code and
container statuses, restarts what is to be restarted, and answers the API server when that asks for logs. What it does
not have: images (the command's `python` is this one), a network of its own (see network.py), memory limits.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from hyperflow.engines.local.processes import Job
from hyperflow.errors import Unavailable
from tests.cluster.api import Api
from tests.cluster.certificates import Certificates
from tests.cluster.isolated import Host, IsolatedPod, base_environment, is_of_workflow
from tests.cluster.logs import Logs, LogServer
from tests.cluster.network import Network
from tests.kubeflow.kubelet import COLLECTOR, expand
from tests.kubeflow.store import Object, Refusal

NODE = "this-machine"
_PROBE_SECONDS = 0.1
_RESTART_SECONDS = 1.0
_END_SECONDS = 10.0


class Kubelet:
    """The node of a test cluster.

    Args:
        api: The API server.
        folder: Where logs go.
        certificates: What the log server shows the API server.
    """

    def __init__(self, api: Api, folder: Path, certificates: Certificates) -> None:
        self.api, self._folder = api, folder
        self.logs, self.network = Logs(), Network(api)
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
        namespace = item["metadata"]["namespace"]
        volume, container = self._volumes.get(namespace), item["spec"]["containers"][0]
        if volume is None or not container.get("command") or item["spec"].get("nodeName"):
            return
        isolated = is_of_workflow(item)
        pod = IsolatedPod(self._host, item, volume) if isolated else Pod(self, item, volume, self._folder)
        self._pods[pod.uid] = pod
        pod.start()

    def _execute(self, namespace: str, name: str, container: str, command: list[str]) -> tuple[int, bytes, bytes]:
        for pod in list(self._pods.values()):
            if isinstance(pod, IsolatedPod) and (pod.namespace, pod.name, pod.is_running) == (namespace, name, True):
                return pod.execute(container, command)
        return 126, b"", b"no such container runs"


class Pod:
    """One pod: its first container is the process, the others end as it does."""

    def __init__(self, kubelet: Kubelet, item: Object, volume: Path, folder: Path) -> None:
        self._kubelet, self._item, self._volume = kubelet, item, volume
        metadata = item["metadata"]
        self.name, self.namespace, self.uid = metadata["name"], metadata["namespace"], metadata["uid"]
        self._containers = [container["name"] for container in item["spec"]["containers"]]
        self._main: Object = item["spec"]["containers"][0]
        self._log_file = folder / f"{self.namespace}-{self.name}-{self.uid}.log"
        self._address = kubelet.network.address(self.uid)
        self._restarts = 0
        self._last: Object = {}
        self.is_running = False
        self._told_to_end = threading.Event()
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._thread: threading.Thread | None = None

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    def start(self) -> None:
        """Run from now on, to the end."""
        self._thread = threading.Thread(target=self._run, args=(self._kubelet.api,), daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the process has ended and the API server knows."""
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _run(self, api: Api) -> None:
        """Run to the end; a pod that went in the meantime is nobody's trouble."""
        with contextlib.suppress(Refusal):
            binding = {"metadata": {"name": self.name}, "target": {"kind": "Node", "name": NODE}}
            api.create(f"{self._path}/binding", {"apiVersion": "v1", "kind": "Binding", **binding})
            self._run_container(api)
        if self._told_to_end.is_set():
            api.delete(self._path, gracePeriodSeconds=0, preconditions={"uid": self.uid})

    def end(self, at_once: bool = False) -> None:
        """End the process, and with it the pod; first what its container has for that moment."""
        before = self._main.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        if before and self.is_running and not at_once:
            threading.Thread(target=self._end_after, args=(before,), daemon=True).start()
            return
        self._stop()

    def _end_after(self, command: list[str]) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, check=False, timeout=_END_SECONDS)
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            self._told_to_end.set()
            if self._job is not None:
                self._job.stop()

    def _run_container(self, api: Api) -> None:
        while not self._told_to_end.is_set():
            code = self._run_once(api)
            if self._told_to_end.is_set():
                return
            terminated = {"exitCode": code, "reason": "Error" if code else "Completed"}
            state: Object = {"terminated": {**terminated, "finishedAt": _now()}}
            if self._item["spec"]["restartPolicy"] != "Always":
                self._report(api, "Failed" if code else "Succeeded", state)
                return
            self._last, self._restarts = state, self._restarts + 1
            self._report(api, "Running", {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}})
            self._told_to_end.wait(_RESTART_SECONDS * self._restarts)

    def _run_once(self, api: Api) -> int:
        env = {entry["name"]: self._value(entry) for entry in self._main.get("env", []) if "value" in entry}
        words = [*self._main["command"], *self._main.get("args", [])]
        argv = [sys.executable if word == "python" else self._on_disk(expand(word, env)) for word in words]
        if argv[1:3] == ["-m", "hyperflow.serving"]:
            argv.append(f"--host={self._address}")  # for lack of a network namespace
        log = self._kubelet.logs.open(self.namespace, self.name, self._speaker)
        with self._lock:
            if self._told_to_end.is_set():
                return 0
            try:
                self._job = Job(argv, {**os.environ, **env, "HOME": os.environ.get("HOME", "/tmp")}, self._log_file)
            except Unavailable as error:
                log.add(str(error))
                log.end()
                return 127
            self.is_running = True
        probe = threading.Thread(target=self._probe, args=(api, self._job), daemon=True)
        self._report(api, "Running", {"running": {"startedAt": _now()}}, ready="readinessProbe" not in self._main)
        probe.start()
        for line in self._job.lines():
            log.add(line)
        code = self._job.wait()
        self.is_running = False
        log.end()
        return code

    @property
    def _speaker(self) -> str:
        return COLLECTOR if COLLECTOR in self._containers else self._main["name"]

    def _probe(self, api: Api, job: Job) -> None:
        """Report the pod ready once its readiness probe passes."""
        if "readinessProbe" not in self._main:
            return
        probe = self._main["readinessProbe"]["httpGet"]
        url = f"http://{self._address}:{probe['port']}{probe['path']}"
        while not self._told_to_end.wait(_PROBE_SECONDS) and self._job is job:
            with contextlib.suppress(urllib.error.URLError, OSError, Refusal):
                urllib.request.urlopen(url, timeout=5).close()
                self._report(api, "Running", {"running": {"startedAt": _now()}}, ready=True)
                return

    def _report(self, api: Api, phase: str, state: Object, ready: bool = False) -> None:
        if "terminated" in state:
            ready = False
        statuses = [self._status(name, state, ready) for name in self._containers]
        truth = {"Initialized": True, "PodScheduled": True, "ContainersReady": ready, "Ready": ready}
        conditions = [
            {"type": kind, "status": str(holds), "lastTransitionTime": _now()} for kind, holds in truth.items()
        ]
        address = {"podIP": self._address, "podIPs": [{"ip": self._address}], "hostIP": "127.0.0.1"}
        status = {"phase": phase, "conditions": conditions, "containerStatuses": statuses, **address}
        api.patch(f"{self._path}/status", {"metadata": {"uid": self.uid}, "status": status})

    def _status(self, name: str, state: Object, ready: bool) -> Object:
        if "terminated" in state and name != self._main["name"]:
            state = {"terminated": {**state["terminated"], "exitCode": 0, "reason": "Completed"}}
        status = {"name": name, "image": "image", "imageID": "", "ready": ready, "state": state}
        return {**status, "restartCount": self._restarts, "lastState": self._last}

    def _value(self, entry: Object) -> str:
        value = str(entry["value"])
        return self._kubelet.network.rewrite(value) if entry["name"] == "TF_CONFIG" else self._on_disk(value)

    def _on_disk(self, text: str) -> str:
        """Put the volume's folder where the claim is mounted."""
        claims = {volume["name"] for volume in self._item["spec"]["volumes"] if "persistentVolumeClaim" in volume}
        for mount in self._main.get("volumeMounts", []):
            if mount["name"] in claims:
                text = text.replace(mount["mountPath"], str(self._volume / mount.get("subPath", "")))
        return text


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    return context
