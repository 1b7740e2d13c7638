"""Run the pods of an emulated cluster as processes of this machine, with a folder in the claim's place."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hyperflow.volume import MOUNT_PATH
from tests.kubeflow.emulator import Emulator, Log
from tests.kubeflow.store import Event, Key, Object

PODS: Key = ("", "pods")
BACK_OFF_SECONDS = 1.0
COLLECTOR = "metrics-logger-and-collector"
NOWHERE = "nowhere.example/"
"""A registry that has no image."""


class Kubelet:
    """Starts the first container of each pod that appears, over and over where it says so, and ends it with the pod."""

    def __init__(self, emulator: Emulator, volume: Path) -> None:
        self._emulator, self._volume = emulator, volume
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._deleted: set[str] = set()
        self._stopped: set[str] = set()
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def handle(self, event: Event) -> None:
        if event.key == PODS and event.type == "ADDED":
            threading.Thread(target=self._run, args=(event.object,), daemon=True).start()
        elif event.key == PODS and event.type == "DELETED":
            self._kill(event.object["metadata"]["uid"])

    def close(self) -> None:
        for uid in list(self._processes):
            self._kill(uid)

    def stop_early(self, job: str) -> None:
        """End a trial's processes as Katib's collector does: the shell around them takes it for a good end."""
        with self._lock:
            names = {uid: name for uid, name in self._names.items() if name.startswith(job)}
            self._stopped |= names.keys()
            processes = [self._processes[uid] for uid in names if uid in self._processes]
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)

    def _run(self, pod: Object) -> None:
        restarts = 0
        if pod["spec"]["containers"][0].get("image", "").startswith(NOWHERE):
            self._status(pod, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}})
            return
        while (code := self._run_once(pod)) is not None:
            ended = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
            if pod["spec"].get("restartPolicy") != "Always":
                self._status(pod, "Failed" if code else "Succeeded", ended)
                return
            restarts += 1
            waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
            self._status(pod, "Running", waiting, restartCount=restarts, lastState=ended)
            time.sleep(BACK_OFF_SECONDS * restarts)

    def _run_once(self, pod: Object) -> int | None:
        """Run the container and return its exit code, or nothing where the pod was deleted meanwhile."""
        metadata, container = pod["metadata"], pod["spec"]["containers"][0]
        name, uid = metadata["name"], metadata["uid"]
        env = variables(pod, self._on_disk)
        command = [self._on_disk(expand(word, env)) for word in container["command"]]
        printed_by = (
            COLLECTOR if COLLECTOR in {entry["name"] for entry in pod["spec"]["containers"]} else container["name"]
        )
        with self._lock:
            if uid in self._deleted:
                return None
            process = subprocess.Popen(
                command,
                env={**os.environ, **env},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            self._processes[uid], self._names[uid] = process, name
        self._emulator.logs[name, printed_by] = Log()
        self._status(pod, "Running", {"running": {}})
        assert process.stdout is not None
        for line in process.stdout:
            self._emulator.log(name, printed_by, line.rstrip("\n"))
        code = process.wait()
        self._emulator.log(name, printed_by, None)
        if uid in self._deleted:
            return None
        if uid in self._stopped:
            return 0
        return 128 - code if code < 0 else code

    def _status(self, pod: Object, phase: str, state: Object, **more: object) -> None:
        metadata = pod["metadata"]
        statuses = [{"name": pod["spec"]["containers"][0]["name"], "state": state, **more}]
        self._emulator.store.set_status(
            PODS, metadata["namespace"], metadata["name"], phase=phase, containerStatuses=statuses
        )

    def _kill(self, uid: str) -> None:
        with self._lock:
            self._deleted.add(uid)
            process = self._processes.pop(uid, None)
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it may end by itself just now
                os.killpg(process.pid, signal.SIGKILL)

    def _on_disk(self, text: str) -> str:
        return text.replace(MOUNT_PATH, str(self._volume))


def variables(pod: Object, on_disk: Callable[[str], str] = str) -> dict[str, str]:
    """Return a pod's variables: what names a field of the pod has its value, and `$(…)` that of an earlier variable."""
    env: dict[str, str] = {}
    for entry in pod["spec"]["containers"][0].get("env", []):
        field = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        env[entry["name"]] = field_of(pod, field) if field else on_disk(expand(entry.get("value", ""), env))
    return env


def field_of(pod: Object, path: str) -> str:
    """Return what a variable that names a field of the pod's metadata has for its value."""
    match = re.fullmatch(r"metadata\.(annotations|labels)\['([^']+)'\]", path)
    return (
        str(pod["metadata"].get(match[1], {}).get(match[2], "")) if match else str(pod["metadata"][path.split(".")[-1]])
    )


def expand(word: str, env: dict[str, str]) -> str:
    """Expand `$(NAME)` and `$$` as the kubelet does: whatever stands between the brackets is a name."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else env.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", value, word)
