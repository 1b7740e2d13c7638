"""A container as a process of this machine: started, probed, restarted, and its state told as a kubelet tells it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc

from hyperflow.engines.local.processes import Job
from hyperflow.errors import Unavailable
from tests.cluster.logs import ContainerLog
from tests.kubeflow.kubelet import expand
from tests.kubeflow.store import Object

_PROBE_SECONDS = 0.1
_RESTART_SECONDS = 1.0
_SERVING = b"\x08\x01"
"""The answer of a gRPC health check, as it is written: field 1 is SERVING."""


@dataclass(frozen=True)
class Surroundings:
    """What a container gets from its pod.

    Args:
        address: The pod's address.
        command: The whole command line, for the argv of the container's first process.
        started: Returns when that runs, of the process that was told to start it.
        value: What a variable or a word of the command is on this machine.
        log: Opens a log for a fresh start.
        log_file: File that all its output is added to.
        report: Tells the API server how the pod is.
        told_to_end: Set when nothing is to be started any more.
    """

    address: str
    command: Callable[[list[str]], list[str]]
    started: Callable[[int], None]
    value: Callable[[str, str], str]
    log: Callable[[], ContainerLog]
    log_file: Path
    report: Callable[[], None]
    told_to_end: threading.Event


@dataclass
class Container:
    """One container.

    Args:
        spec: As the pod has it.
        command: What its image starts, where the pod does not say.
        env: Variables that are the image's.
        restarts: Whether it is started again when it has ended.
        surroundings: What its pod gives it.
    """

    spec: Object
    command: Sequence[str]
    env: Mapping[str, str]
    restarts: bool
    surroundings: Surroundings
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    ready: bool = False
    _last: Object = field(default_factory=dict)
    _count: int = 0
    _job: Job | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """Its name in the pod."""
        return str(self.spec["name"])

    @property
    def exit_code(self) -> int | None:
        """How it ended, or None while it may run."""
        return self.state["terminated"]["exitCode"] if "terminated" in self.state else None

    @property
    def is_running(self) -> bool:
        """Whether it has a process now."""
        return self._job is not None

    @property
    def status(self) -> Object:
        """Its entry in the pod's status."""
        status = {"name": self.name, "image": self.spec.get("image", "image"), "imageID": "", "ready": self.ready}
        return {**status, "state": self.state, "restartCount": self._count, "lastState": self._last}

    def start(self) -> threading.Thread:
        """Have a process from now on, in a thread that ends when there will be no other."""
        started = threading.Event()
        thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        thread.start()
        started.wait()
        return thread

    def stop(self) -> None:
        """End the process; its pod has been told to end."""
        with self._lock:
            if self._job is not None:
                self._job.stop()

    def _run(self, started: threading.Event) -> None:
        around = self.surroundings
        try:
            while not around.told_to_end.is_set():
                code = self._run_once(started)
                self.ready = False
                if around.told_to_end.is_set():
                    return
                ended: Object = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": now()}
                if not self.restarts:
                    self._become({"terminated": ended})
                    return
                self._last, self._count = {"terminated": ended}, self._count + 1
                self._become({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}})
                around.told_to_end.wait(_RESTART_SECONDS * self._count)
        finally:
            started.set()

    def _run_once(self, started: threading.Event) -> int:
        around, log = self.surroundings, self.surroundings.log()
        with self._lock:
            if around.told_to_end.is_set():
                return 0
            try:
                self._job = job = Job(*self._program(), around.log_file)
            except Unavailable as error:
                log.add(str(error))
                log.end()
                return 127
        around.started(job.pid)
        started.set()
        self.ready = "readinessProbe" not in self.spec
        self._become({"running": {"startedAt": now()}})
        threading.Thread(target=self._probe, args=(job,), daemon=True).start()
        for line in job.lines():
            log.add(line)
        code = job.wait()
        with self._lock:
            self._job = None
        log.end()
        return code

    def _program(self) -> tuple[list[str], dict[str, str]]:
        """Return the command line, and the environment."""
        around = self.surroundings
        env = dict(self.env)
        for entry in (entry for entry in self.spec.get("env", []) if "value" in entry):
            env[entry["name"]] = around.value(entry["name"], expand(entry["value"], env))
        words = [*(self.spec.get("command") or self.command), *self.spec.get("args", [])]
        argv = [sys.executable if word == "python" else around.value("", expand(word, env)) for word in words]
        if argv[1:3] == ["-m", "hyperflow.serving"]:
            argv.append(f"--host={around.address}")  # for lack of a network namespace
        return around.command(argv), {**os.environ, **env, "HOME": os.environ.get("HOME", "/tmp")}

    def _become(self, state: Object) -> None:
        self.state = state
        self.surroundings.report()

    def _probe(self, job: Job) -> None:
        """Report the container ready once its readiness probe passes; it is not asked to wait before that."""
        while not self.ready and not self.surroundings.told_to_end.wait(_PROBE_SECONDS) and self._job is job:
            if passes(self.spec["readinessProbe"], self.surroundings.address):
                self.ready = True
                self.surroundings.report()


def passes(probe: Object, address: str) -> bool:
    """Ask what a readiness probe asks."""
    if "grpc" in probe:
        return _is_serving(f"{address}:{probe['grpc']['port']}", probe["grpc"].get("service", ""))
    url = f"http://{address}:{probe['httpGet']['port']}{probe['httpGet']['path']}"
    with contextlib.suppress(urllib.error.URLError, OSError):
        urllib.request.urlopen(url, timeout=5).close()
        return True
    return False


def _is_serving(target: str, service: str) -> bool:
    request = b"\x0a" + bytes([len(service)]) + service.encode()  # field 1, a text
    with grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            return bool(channel.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=2) == _SERVING)
        except grpc.RpcError:
            return False


def now() -> str:
    """Return the time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
