"""A pod: its containers, what they share, and how it stands."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.api import Api
from tests.cluster.containers import Container, Surroundings, now
from tests.cluster.katib import Image
from tests.cluster.logs import Logs
from tests.cluster.network import Network
from tests.cluster.sandbox import Sandbox, is_mountable
from tests.kubeflow.kubelet import field_of
from tests.kubeflow.store import Object, Refusal

NODE = "this-machine"
END_SECONDS = 10.0


class Node:
    """What all pods of the node have of it.

    Args:
        api: The API server.
        logs: Where containers' output goes.
        network: Who has which address.
        images: What the images do that can be run here.
        folder: A folder for the node's files.
        authority: The certificate by which pods know the API server.
    """

    def __init__(
        self, api: Api, logs: Logs, network: Network, images: Mapping[str, Image], folder: Path, authority: Path
    ) -> None:
        self.api, self.logs, self.network, self.images = api, logs, network, images
        self.folder, self.authority = folder, authority

    def can_run(self, item: Object) -> bool:
        """Return whether each container of a pod says what it runs, or has an image that does."""
        return all(spec.get("command") or spec.get("image") in self.images for spec in item["spec"]["containers"])


class Pod:
    """One pod of a namespace whose claim is a folder.

    A pod whose containers see each other's processes, or have an image's program, gets namespaces of its own; in any
    other, our own programs start from a warm process.
    """

    def __init__(self, node: Node, item: Object, volume: Path) -> None:
        self._node, self._item, self._volume = node, item, volume
        metadata, spec = item["metadata"], item["spec"]
        self.name, self.namespace, self.uid = metadata["name"], metadata["namespace"], metadata["uid"]
        self._address = node.network.address(self.uid)
        self._told_to_end, self._lock = threading.Event(), threading.Lock()
        self._sandbox: Sandbox | None = None
        self._thread: threading.Thread | None = None
        self._containers = [self._container(entry) for entry in spec["containers"]]

    @property
    def is_running(self) -> bool:
        """Whether it has a process now."""
        return any(container.is_running for container in self._containers)

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
            self._thread.join(END_SECONDS)

    def end(self, at_once: bool = False) -> None:
        """End the processes, and with them the pod; first what a container has for that moment."""
        hooks = (spec.get("lifecycle", {}).get("preStop", {}) for spec in self._item["spec"]["containers"])
        before = [hook["exec"]["command"] for hook in hooks if "exec" in hook]
        if before and self.is_running and not at_once:
            threading.Thread(target=self._end_after, args=(before,), daemon=True).start()
            return
        self._stop()

    def _end_after(self, commands: list[list[str]]) -> None:
        for command in commands:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(command, check=False, timeout=END_SECONDS)
        self._stop()

    def _stop(self) -> None:
        self._told_to_end.set()
        for container in self._containers:
            container.stop()

    def _run(self) -> None:
        """Run to the end; a pod that went in the meantime is nobody's trouble."""
        with contextlib.suppress(Refusal):
            binding = {"metadata": {"name": self.name}, "target": {"kind": "Node", "name": NODE}}
            self._node.api.create(f"{self._path}/binding", {"apiVersion": "v1", "kind": "Binding", **binding})
            self._run_containers()
        if self._told_to_end.is_set():
            self._node.api.delete(self._path, gracePeriodSeconds=0, preconditions={"uid": self.uid})

    def _run_containers(self) -> None:
        spec = self._item["spec"]
        try:
            if spec.get("shareProcessNamespace") or any(
                entry.get("image") in self._node.images for entry in spec["containers"]
            ):
                self._sandbox = Sandbox(self._mounts())
            for thread in [container.start() for container in self._containers]:
                thread.join()
        finally:
            if self._sandbox is not None:
                self._sandbox.close()

    def _container(self, spec: Object) -> Container:
        image = self._node.images.get(spec.get("image", ""), Image(()))
        command = [word.format(address=self._address) for word in image.command]
        around = Surroundings(
            address=self._address,
            command=lambda argv: argv if self._sandbox is None else self._sandbox.command(argv),
            started=lambda pid: None if self._sandbox is None else self._sandbox.wait_until_in(pid),
            value=lambda name, text: self._value(spec, name, text),
            log=lambda: self._node.logs.open(self.namespace, self.name, spec["name"]),
            log_file=self._node.folder / f"{self.namespace}-{self.name}-{self.uid}-{spec['name']}.log",
            report=self._report,
            told_to_end=self._told_to_end,
        )
        restarts = self._item["spec"]["restartPolicy"] == "Always"
        return Container({**spec, "env": self._variables(spec)}, command, image.env, restarts, around)

    def _variables(self, spec: Object) -> list[Object]:
        """Return a container's variables; those that name something of the pod's metadata have its value."""
        made = []
        for entry in spec.get("env", []):
            path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
            is_known = path.startswith("metadata.")
            made.append({"name": entry["name"], "value": field_of(self._item, path)} if is_known else entry)
        return made

    def _report(self) -> None:
        """Tell the API server how the pod is; one that is gone by now is nobody's trouble."""
        with self._lock, contextlib.suppress(Refusal):
            ready = all(container.ready for container in self._containers)
            truth = {"Initialized": True, "PodScheduled": True, "ContainersReady": ready, "Ready": ready}
            conditions = [
                {"type": kind, "status": str(holds), "lastTransitionTime": now()} for kind, holds in truth.items()
            ]
            status = {
                "phase": self._phase(),
                "conditions": conditions,
                "containerStatuses": [container.status for container in self._containers],
                "podIP": self._address,
                "podIPs": [{"ip": self._address}],
                "hostIP": "127.0.0.1",
            }
            self._node.api.patch(f"{self._path}/status", {"metadata": {"uid": self.uid}, "status": status})

    def _phase(self) -> str:
        codes = [container.exit_code for container in self._containers]
        if None in codes:
            return "Running"
        return "Failed" if any(codes) else "Succeeded"

    def _value(self, container: Object, name: str, text: str) -> str:
        """Return what a variable, or without a name a word of the command, is on this machine."""
        if name == "TF_CONFIG":
            return self._node.network.rewrite(text, self.namespace)
        claims = {volume["name"] for volume in self._item["spec"]["volumes"] if "persistentVolumeClaim" in volume}
        for mount in container.get("volumeMounts", []):
            if mount["name"] in claims:
                text = text.replace(mount["mountPath"], str(self._volume / mount.get("subPath", "")))
        return text

    def _mounts(self) -> dict[str, Path]:
        """Make the volumes that are to be where containers expect them; the claim's path is put into their words."""
        sources = {volume["name"]: volume for volume in self._item["spec"].get("volumes", [])}
        mounts: dict[str, Path] = {}
        for mount in (mount for spec in self._item["spec"]["containers"] for mount in spec.get("volumeMounts", [])):
            if is_mountable(mount["mountPath"]):
                folder = self._node.folder / "volumes" / self.uid / mount["name"]
                folder.mkdir(parents=True, exist_ok=True)
                mounts[mount["mountPath"]] = folder
                for entry in sources[mount["name"]].get("projected", {}).get("sources", []):
                    self._project(entry, folder)
        return mounts

    def _project(self, source: Object, folder: Path) -> None:
        """Write what a pod is given to know itself and the API server by."""
        if "serviceAccountToken" in source:
            account = self._item["spec"]["serviceAccountName"]
            path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
            request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
            token = self._node.api.create(path, request)["status"]["token"]
            (folder / source["serviceAccountToken"]["path"]).write_text(token)
        elif source.get("configMap", {}).get("name") == "kube-root-ca.crt":
            (folder / "ca.crt").write_text(self._node.authority.read_text())
        elif "downwardAPI" in source:
            (folder / "namespace").write_text(self.namespace)
