"""Run the pods of an emulated cluster as processes of this machine, with a folder in the claim's place."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from hyperflow.volume import MOUNT_PATH
from tests.kubeflow.emulator import Emulator, Log
from tests.kubeflow.store import Event, Key, Object

PODS: Key = ("", "pods")
COLLECTOR = "metrics-logger-and-collector"


class Kubelet:
    """Starts the first container of each pod that appears, and ends it with the pod."""

    def __init__(self, emulator: Emulator, volume: Path) -> None:
        self._emulator, self._volume = emulator, volume
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._deleted: set[str] = set()
        self._lock = threading.Lock()

    def handle(self, event: Event) -> None:
        if event.key == PODS and event.type == "ADDED":
            threading.Thread(target=self._run, args=(event.object,), daemon=True).start()
        elif event.key == PODS and event.type == "DELETED":
            self._kill(event.object["metadata"]["uid"])

    def close(self) -> None:
        for uid in list(self._processes):
            self._kill(uid)

    def _run(self, pod: Object) -> None:
        metadata, container = pod["metadata"], pod["spec"]["containers"][0]
        name, uid, namespace = metadata["name"], metadata["uid"], metadata["namespace"]
        env = {entry["name"]: self._on_disk(entry["value"]) for entry in container.get("env", [])}
        command = [self._on_disk(expand(word, env)) for word in container["command"]]
        printed_by = (
            COLLECTOR if COLLECTOR in {entry["name"] for entry in pod["spec"]["containers"]} else container["name"]
        )
        with self._lock:
            if uid in self._deleted:
                return
            process = subprocess.Popen(
                command,
                env={**os.environ, **env},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            self._processes[uid] = process
        self._emulator.logs[name, printed_by] = Log()
        self._status(namespace, name, container["name"], "Running", {"running": {}})
        assert process.stdout is not None
        for line in process.stdout:
            self._emulator.log(name, printed_by, line.rstrip("\n"))
        code = process.wait()
        self._emulator.log(name, printed_by, None)
        if uid not in self._deleted:
            code = 128 - code if code < 0 else code
            ended = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
            self._status(namespace, name, container["name"], "Failed" if code else "Succeeded", ended)

    def _status(self, namespace: str, pod: str, container: str, phase: str, state: Object) -> None:
        statuses = [{"name": container, "state": state}]
        self._emulator.store.set_status(PODS, namespace, pod, phase=phase, containerStatuses=statuses)

    def _kill(self, uid: str) -> None:
        with self._lock:
            self._deleted.add(uid)
            process = self._processes.pop(uid, None)
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    def _on_disk(self, text: str) -> str:
        return text.replace(MOUNT_PATH, str(self._volume))


def expand(word: str, env: dict[str, str]) -> str:
    """Expand `$(NAME)` and `$$` as the kubelet does."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else env.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)", value, word)
