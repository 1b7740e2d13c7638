"""What a kubelet gives a container from the API server: its environment, and folders for its mounts."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from tests.cluster.api import Api
from tests.kubeflow.kubelet import expand
from tests.kubeflow.store import Object, Refusal

_OPEN = 0o777
_METADATA = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class Supplies:
    """The volumes and the environment of one pod.

    Args:
        api: Where ConfigMaps, Secrets and tokens are.
        pod: The pod.
        folder: Where its own volumes are made.
        claim: The folder in the claim's place.
    """

    def __init__(self, api: Api, pod: Object, folder: Path, claim: Path) -> None:
        self._api, self._pod, self._folder, self._claim = api, pod, folder, claim
        self._space = f"/api/v1/namespaces/{pod['metadata']['namespace']}"
        self._volumes = {volume["name"]: self._make(volume) for volume in pod["spec"].get("volumes", [])}

    def mounts(self, container: Object) -> dict[str, str]:
        """Return which path outside is seen at which path inside."""
        found = {}
        for mount in container.get("volumeMounts", []):
            source = self._volumes[mount["name"]] / str(mount.get("subPath", ""))
            if not source.exists():
                _make_open(source)
            found[mount["mountPath"]] = str(source)
        return found

    def environment(self, container: Object) -> dict[str, str]:
        """Return the variables that the pod gives a container."""
        env: dict[str, str] = {}
        for source in container.get("envFrom", []):
            kind = "configMap" if "configMapRef" in source else "secret"
            data = self._data(kind, source[f"{kind}Ref"])
            env |= {source.get("prefix", "") + key: value.decode() for key, value in data.items()}
        for entry in container.get("env", []):
            value = self._from(entry["valueFrom"]) if "valueFrom" in entry else expand(entry.get("value", ""), env)
            if value is not None:
                env[entry["name"]] = value
        return env

    def _from(self, source: Object) -> str | None:
        """Read a variable's value from the pod, a ConfigMap or a Secret; None where an optional one is missing."""
        if "fieldRef" in source:
            return _field(self._pod, source["fieldRef"]["fieldPath"])
        kind = "configMap" if "configMapKeyRef" in source else "secret"
        reference = source[f"{kind}KeyRef"]
        value = self._data(kind, reference).get(reference["key"])
        return None if value is None else value.decode()

    def _make(self, volume: Object) -> Path:
        """Make a volume's folder and fill it."""
        path = self._folder / "volumes" / str(volume["name"])
        if "persistentVolumeClaim" in volume:
            return self._claim
        _make_open(path)
        for source in volume.get("projected", {}).get("sources", [volume]):
            for name, data in self._files(source).items():
                (path / name).write_bytes(data)
        return path

    def _files(self, source: Object) -> dict[str, bytes]:
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            return {wanted["path"]: self._token(wanted.get("expirationSeconds", 3600)).encode()}
        if "downwardAPI" in source:
            items = source["downwardAPI"]["items"]
            return {item["path"]: _field(self._pod, item["fieldRef"]["fieldPath"]).encode() for item in items}
        for kind in ("configMap", "secret"):
            if kind in source:
                reference = {**source[kind], "name": source[kind].get("name", source[kind].get("secretName"))}
                data = self._data(kind, reference)
                chosen = reference.get("items") or [{"key": key, "path": key} for key in data]
                return {item["path"]: data[item["key"]] for item in chosen if item["key"] in data}
        return {}

    def _token(self, seconds: int) -> str:
        account = self._pod["spec"]["serviceAccountName"]
        metadata = self._pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        spec = {"expirationSeconds": seconds, "boundObjectRef": bound}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return str(self._api.create(f"{self._space}/serviceaccounts/{account}/token", request)["status"]["token"])

    def _data(self, kind: str, reference: Mapping[str, object]) -> dict[str, bytes]:
        try:
            item = self._api.get(f"{self._space}/{kind.lower()}s/{reference['name']}")
        except Refusal as refusal:
            if refusal.code == HTTPStatus.NOT_FOUND and reference.get("optional"):
                return {}
            raise
        data = item.get("data") or {}
        if kind == "secret":
            return {key: base64.b64decode(value) for key, value in data.items()}
        return {key: value.encode() for key, value in data.items()}


def _make_open(path: Path) -> None:
    """Make a folder in which every user of the pod may write, whatever our own umask is."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(_OPEN)


def _field(pod: Object, path: str) -> str:
    """Return what the downward API says of a pod."""
    if match := _METADATA.fullmatch(path):
        return str(pod["metadata"].get(match[1], {}).get(match[2], ""))
    value = pod
    for name in path.split("."):
        value = value.get(name, {})
    return str(value or "")
