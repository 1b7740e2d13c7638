"""Pods whose containers have roots, mounts and processes of their own: what Argo's executor cannot do without.

It writes at fixed paths, is found there by its neighbours, and has number 1 in the container that it guards.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from tests.cluster.api import Api
from tests.cluster.binaries import default_cache
from tests.cluster.logs import Logs
from tests.cluster.network import Network
from tests.cluster.volumes import Supplies
from tests.kubeflow.kubelet import expand
from tests.kubeflow.store import Object, Refusal

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "rootfs.py"
_IMAGE = (str(ROOT), sys.prefix, sys.base_prefix)
"""What stands for the content of an image: this checkout and its Python, and all else of this machine but /tmp."""

_NOTE = "/dev/termination-log"
_NOTHING = {"waiting": {"reason": "PodInitializing", "message": ""}}


@dataclass(frozen=True)
class Host:
    """What such pods have of their node.

    Args:
        name: Its name.
        api: The API server.
        logs: Where containers' output goes.
        network: Who has which address.
        folder: A folder for the pods' files.
        environment: What is in every container's environment.
    """

    name: str
    api: Api
    logs: Logs
    network: Network
    folder: Path
    environment: Mapping[str, str]


class Container:
    """One container, which runs once.

    Args:
        spec: The container as the pod has it.
        env: Its whole environment.
        mounts: Its mounts, by path inside.
        folder: Where this class keeps what it needs.
    """

    def __init__(self, spec: Object, env: Mapping[str, str], mounts: Mapping[str, str], folder: Path) -> None:
        self.name: str = spec["name"]
        self.state: Object = dict(_NOTHING)
        self._spec, self._env, self._folder = spec, dict(env), folder
        self._note, self._pid_file = folder / "note", folder / "pid"
        self._mounts = {"/tmp": str(folder / "tmp"), **mounts, _NOTE: str(self._note)}
        self._process: subprocess.Popen[str] | None = None

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return "running" in self.state

    @property
    def code(self) -> int:
        """Its exit code; 0 while it has none."""
        return int(self.state.get("terminated", {}).get("exitCode", 0))

    def start(self) -> None:
        """Start the process."""
        for name in ("root", "tmp"):
            (self._folder / name).mkdir(parents=True)
        self._note.touch()
        words = [*self._spec["command"], *self._spec.get("args", [])]
        spec = {
            "argv": [expand(word, self._env) for word in words],
            "env": self._env,
            "folder": self._spec.get("workingDir", "/"),
            "root": str(self._folder / "root"),
            "mounts": self._mounts,
            "image": _IMAGE,
            "pid_file": str(self._pid_file),
        }
        path = self._folder / "spec.json"
        path.write_text(json.dumps(spec))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAM), str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.state = {"running": {"startedAt": _now()}}

    def wait(self, logs: Logs, namespace: str, pod: str) -> None:
        """Pass on what it prints until its end."""
        assert self._process is not None
        assert self._process.stdout is not None
        log = logs.open(namespace, pod, self.name)
        for line in self._process.stdout:
            log.add(line.rstrip("\n"))
        code = self._process.wait()
        log.end()
        code = code if code >= 0 else 128 - code
        began = self.state["running"]["startedAt"]
        ended = {"exitCode": code, "reason": "Error" if code else "Completed", "startedAt": began}
        self.state = {"terminated": {**ended, "finishedAt": _now(), "message": self._note.read_text()}}

    def end(self, at_once: bool = False) -> None:
        """Send the process SIGTERM, or kill it with all that it started."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)

    def execute(self, command: list[str]) -> tuple[int, bytes, bytes]:
        """Run a command inside; return its exit code, output and messages."""
        inside = ["nsenter", f"--target={self._pid_file.read_text()}", "--all", "--root", "--wdns=/", "--", *command]
        done = subprocess.run(inside, env=self._env, capture_output=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr


class IsolatedPod:
    """One pod: its init containers one after the other, then its containers together, none of them again."""

    def __init__(self, host: Host, item: Object, volume: Path) -> None:
        self._host, self._item, self._volume = host, item, volume
        metadata = item["metadata"]
        self.name, self.namespace, self.uid = metadata["name"], metadata["namespace"], metadata["uid"]
        self._folder = host.folder / "pods" / self.uid
        self._address = host.network.address(self.uid)
        self._first: list[Container] = []
        self._all: list[Container] = []
        self._reason: Object = {}
        self._is_lost = False
        self._told_to_end, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._timers: list[threading.Timer] = []

    @property
    def is_running(self) -> bool:
        """Whether a container runs."""
        return any(container.is_running for container in (*self._first, *self._all))

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    def start(self) -> None:
        """Run from now on, to the end."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the processes have ended and the API server knows."""
        if self._thread is not None:
            self._thread.join(10)

    def end(self, at_once: bool = False, grace: float = 30) -> None:
        """Tell all containers to end, and kill those that have not after the grace period."""
        if at_once or not self._told_to_end.is_set():
            self._told_to_end.set()
            self._stop(0 if at_once else grace)

    def lose(self) -> None:
        """Kill all processes and say nothing of it."""
        self._is_lost = True
        self._signal(at_once=True)

    def execute(self, container: str, command: list[str]) -> tuple[int, bytes, bytes]:
        """Run a command in a container."""
        (found,) = (one for one in self._all if one.name == container)
        return found.execute(command)

    def _stop(self, grace: float) -> None:
        self._signal(at_once=not grace)
        if grace:
            self._later(grace, lambda: self._signal(at_once=True))

    def _signal(self, at_once: bool) -> None:
        for container in (*self._first, *self._all):
            if container.is_running:
                container.end(at_once)

    def _run(self) -> None:
        """Run to the end; a pod that went in the meantime is nobody's trouble."""
        with contextlib.suppress(Refusal):
            binding = {"metadata": {"name": self.name}, "target": {"kind": "Node", "name": self._host.name}}
            self._host.api.create(f"{self._path}/binding", {"apiVersion": "v1", "kind": "Binding", **binding})
            self._prepare()
            self._run_all()
        for timer in self._timers:
            timer.cancel()
        if self._told_to_end.is_set():
            self._host.api.delete(self._path, gracePeriodSeconds=0, preconditions={"uid": self.uid})

    def _prepare(self) -> None:
        spec = self._item["spec"]
        supplies = Supplies(self._host.api, self._item, self._folder, self._volume)

        def make(container: Object) -> Container:
            env = {**self._host.environment, **supplies.environment(container)}
            return Container(container, env, supplies.mounts(container), self._folder / container["name"])

        self._first = [make(container) for container in spec.get("initContainers", [])]
        self._all = [make(container) for container in spec["containers"]]

    def _run_all(self) -> None:
        self._report("Pending")
        if seconds := self._item["spec"].get("activeDeadlineSeconds"):
            self._later(seconds, self._exceed_deadline)
        for container in self._first:
            if not self._told_to_end.is_set():
                container.start()
                self._report("Pending")
                container.wait(self._host.logs, self.namespace, self.name)
            if container.code or self._told_to_end.is_set():
                return self._report("Failed")
        threads = [threading.Thread(target=self._run_one, args=(container,)) for container in self._all]
        for container, thread in zip(self._all, threads, strict=True):
            container.start()
            thread.start()
        self._report("Running")
        for thread in threads:
            thread.join()
        self._report("Failed" if self._reason or any(one.code for one in self._all) else "Succeeded")
        return None

    def _run_one(self, container: Container) -> None:
        container.wait(self._host.logs, self.namespace, self.name)
        if self.is_running:
            with contextlib.suppress(Refusal):
                self._report("Running")

    def _exceed_deadline(self) -> None:
        message = "Pod was active on the node longer than the specified deadline"
        self._reason = {"reason": "DeadlineExceeded", "message": message}
        self._stop(self._item["spec"].get("terminationGracePeriodSeconds", 30))

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _report(self, phase: str) -> None:
        """Say how the pod and its containers are, those in the order of their names as a kubelet does."""
        with self._lock:
            if self._is_lost:
                return
            address = {"podIP": self._address, "podIPs": [{"ip": self._address}], "hostIP": "127.0.0.1"}
            statuses = {
                "initContainerStatuses": [_status(container) for container in self._first],
                "containerStatuses": [_status(one) for one in sorted(self._all, key=lambda one: one.name)],
            }
            truth = {
                "PodScheduled": True,
                "Initialized": phase != "Pending",
                "ContainersReady": phase == "Running",
                "Ready": phase == "Running",
            }
            conditions = [
                {"type": kind, "status": str(holds), "lastTransitionTime": _now()} for kind, holds in truth.items()
            ]
            status = {"phase": phase, "conditions": conditions, **statuses, **address, **self._reason}
            self._host.api.patch(f"{self._path}/status", {"metadata": {"uid": self.uid}, "status": status})


def is_of_workflow(pod: Object) -> bool:
    """Tell a pod that Argo made."""
    return any(owner["kind"] == "Workflow" for owner in pod["metadata"].get("ownerReferences", []))


def base_environment(api_server: str) -> dict[str, str]:
    """Return what an image and a kubelet put into the environment of every container."""
    programs = str(default_cache() / "bin"), str(Path(sys.executable).parent)
    path = os.pathsep.join((*programs, "/usr/local/bin:/usr/bin:/bin"))
    address = urlsplit(api_server)
    service = {"KUBERNETES_SERVICE_HOST": str(address.hostname), "KUBERNETES_SERVICE_PORT": str(address.port)}
    return {"PATH": path, "HOME": "/tmp", "PYTHONPATH": str(ROOT), **service}


def can_isolate() -> bool:
    """Tell whether this machine lets us make the namespaces that such pods need."""
    return subprocess.run([sys.executable, "-I", "-S", str(PROGRAM)], check=False, capture_output=True).returncode == 0


def _status(container: Container) -> Object:
    status = {"name": container.name, "image": "image", "imageID": "", "restartCount": 0, "lastState": {}}
    return {**status, "ready": container.is_running, "state": container.state}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
