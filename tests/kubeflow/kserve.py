"""KServe in an emulated cluster: a server process a revision or Deployment, and one address that follows them.

As in the real one:

- Knative gives all requests, or a canary's share, to the newest revision *that is ready*, whatever it is; the rest
  goes to the one that had all of them last.
- In Standard mode a model counts as loaded while the one before answers: that the new one cannot be loaded shows in
  its pod alone. A canary's replicas are taken off the least of the stable model's. KServe 0.20.0 splits no requests
  (`splits`); those that do, before kserve#5984, send a canary its share whether it is ready or not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.kubeflow.door import NOBODY, Door
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.kubelet import PODS
from tests.kubeflow.operators import condition
from tests.kubeflow.store import Event, Key, Object, Refusal

SERVICES: Key = ("serving.kserve.io", "inferenceservices")
DEPLOYMENTS: Key = ("apps", "deployments")
LOADED = {"transitionStatus": "UpToDate", "states": {"activeModelState": "Loaded", "targetModelState": ""}}
LOADING = {"transitionStatus": "InProgress", "states": {"activeModelState": "", "targetModelState": "Loading"}}
READY = ("PredictorReady", "IngressReady", "Ready")
PREDICTOR = Path(__file__).parent / "predictor.py"


@dataclass
class Revisions:
    """What Knative knows of a service: the port of each revision that is ready, and which one is what."""

    ports: dict[str, int] = field(default_factory=dict)
    created: str = ""
    ready: str = ""
    rolled_out: str = ""


class KServe:
    def __init__(self, emulator: Emulator, volume: Path) -> None:
        self._emulator, self._volume = emulator, volume
        self._doors: defaultdict[str, Door] = defaultdict(Door)
        self._revisions: defaultdict[str, Revisions] = defaultdict(Revisions)
        self._taken_up: dict[str, Object] = {}
        self._servers: list[subprocess.Popen[str]] = []
        self._crashing: dict[str, str] = {}
        self._ports: dict[tuple[str, str], int] = {}
        self._lock = threading.RLock()

    def handle(self, event: Event) -> None:
        if event.key != SERVICES or event.type == "DELETED":
            return
        name, wanted = event.object["metadata"]["name"], _wanted(event.object)
        if wanted != self._taken_up.get(name):
            self._taken_up[name] = wanted
            roll_out = self._knative if is_knative(event.object) else self._standard
            threading.Thread(target=roll_out, args=(event.object,), daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
        for door in list(self._doors.values()):  # a slow machine may still be adding one
            door.close()

    def _knative(self, item: Object) -> None:
        """Make a revision where the pods are others; requests are routed at once, to what is ready."""
        name = item["metadata"]["name"]
        revision = f"{name}-{item['metadata']['annotations']['hyperflow.dev/change']}"
        with self._lock:
            known = self._revisions[name]
            known.created = revision
            self._route(item, known)
        if revision not in known.ports:
            self._status(item, modelStatus=LOADING)
        port, last_words = self._start(item, revision, item["spec"]["predictor"])
        with self._lock:
            if port:
                known.ports[revision] = port
                if _number(revision) > _number(known.ready):
                    known.ready = revision
            if self._taken_up[name] != _wanted(item):
                self._route(self._emulator.store.get(SERVICES, item["metadata"]["namespace"], name), known)
                return
            if not port:
                self._blocked(item, last_words)
                return
            self._route(item, known)
            self._status(item, modelStatus=LOADED, **self._ready(name))

    def _route(self, item: Object, known: Revisions) -> None:
        """Do what `latestRevision: true` means to Knative, and tell KServe's side of it."""
        predictor, name = item["spec"]["predictor"], item["metadata"]["name"]
        share = predictor.get("canaryTrafficPercent") if known.rolled_out else None
        if share is None and known.ready:
            known.rolled_out = known.ready
        newest: Object = {"latestRevision": True, "percent": 100 if share is None else share}
        traffic = [newest] if share is None else [newest, _previous(known.rolled_out, 100 - share)]
        if item["metadata"]["annotations"].get("serving.kserve.io/enable-tag-routing") == "true":
            newest |= {
                "tag": "latest",
                "url": self._open(f"latest-{name}", {known.ports.get(known.ready, NOBODY): 100}),
            }
        shares: defaultdict[int, float] = defaultdict(float)
        for entry in traffic:
            target = known.ready if entry.get("latestRevision") else entry["revisionName"]
            shares[known.ports.get(target, NOBODY)] += entry["percent"]
        self._open(name, shares)
        revisions = {"latestCreatedRevision": known.created, "traffic": traffic}
        if known.ready:
            revisions |= {"latestReadyRevision": known.ready, "latestRolledoutRevision": known.rolled_out}
        self._status(item, components={"predictor": revisions})

    def _standard(self, item: Object) -> None:
        """Start servers of a change beside those that answer; Ready stays what it was until they are up."""
        name, spec = item["metadata"]["name"], item["spec"]
        canaries = spec.get("canary", [])
        stable = f"{name}-predictor"
        is_hidden = name in self._doors
        self._delete_old(item, {stable, *(_canary_name(item, canary) for canary in canaries)})
        self._deployment(item, stable, spec["predictor"], done=False, replaces=is_hidden)
        for canary in canaries:
            self._deployment(item, _canary_name(item, canary), canary["predictor"], done=False, replaces=False)
        self._status(item, modelStatus=LOADED if is_hidden else LOADING)
        ports = {canary["predictor"]["name"]: self._port_of(item, canary) for canary in canaries}
        self._split(item, self._ports.get((stable, spec["predictor"]["model"]["storageUri"])), ports)
        port, last_words = self._start(item, stable, spec["predictor"])
        if self._taken_up[name] != _wanted(item):
            return
        if not port and is_hidden:
            self._crash(item, stable, spec["predictor"])
            return
        if not port:
            self._blocked(item, last_words)
            return
        self._deployment(item, stable, spec["predictor"], done=True, replaces=is_hidden)
        self._split(item, port, ports)
        self._status(item, modelStatus=LOADED, components={"predictor": {}}, **self._ready(name))
        for canary in canaries:
            self._start_canary(item, canary, ports)
        if self._taken_up[name] == _wanted(item):
            self._split(item, port, ports)

    def _port_of(self, item: Object, canary: Object) -> int:
        """Return where a canary answers already: a change of its share leaves its pod alone."""
        return self._ports.get((_canary_name(item, canary), canary["predictor"]["model"]["storageUri"]), NOBODY)

    def _start_canary(self, item: Object, canary: Object, ports: dict[str, int]) -> None:
        deployment = _canary_name(item, canary)
        port, _ = self._start(item, deployment, canary["predictor"])
        if self._taken_up[item["metadata"]["name"]] != _wanted(item):
            return
        if port:
            ports[canary["predictor"]["name"]] = port
            self._deployment(item, deployment, canary["predictor"], done=True, replaces=False)
        else:
            self._crash(item, deployment, canary["predictor"])

    def _split(self, item: Object, stable: int | None, ports: dict[str, int]) -> None:
        """Send users where this KServe does, and tell how the canaries are."""
        canaries = item["spec"].get("canary", [])
        told = [
            {
                "name": canary["predictor"]["name"],
                "ready": ports[canary["predictor"]["name"]] != NOBODY,
                "trafficPercent": canary["trafficPercent"],
            }
            for canary in canaries
        ]
        self._status(item, canaryStatuses=told)
        if stable is None:
            return
        shares: defaultdict[int, float] = defaultdict(float)
        for canary in canaries if self._emulator.kserve_splits else []:
            shares[ports[canary["predictor"]["name"]]] += canary["trafficPercent"]
        shares[stable] += 100 - sum(shares.values())
        self._open(item["metadata"]["name"], shares)

    def _open(self, name: str, shares: dict[int, float]) -> str:
        with self._lock:
            door = self._doors[name]
        door.open_to({port: percent for port, percent in shares.items() if percent})
        return door.url

    def _ready(self, name: str) -> Object:
        url = self._doors[name].url
        return {"conditions": [condition(kind, "") for kind in READY], "url": url, "address": {"url": url}}

    def _blocked(self, item: Object, last_words: str) -> None:
        failure = {"reason": "ModelLoadFailed", "message": last_words, "exitCode": 1}
        states = {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
        blocked = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": failure, "states": states}
        try:
            live = self._emulator.store.get(SERVICES, item["metadata"]["namespace"], item["metadata"]["name"])
        except Refusal:
            return  # deleted meanwhile
        waits = [{**condition(kind, "PredictorNotReady"), "status": "False"} for kind in READY]
        self._status(item, modelStatus=blocked, conditions=live.get("status", {}).get("conditions") or waits)

    def _status(self, item: Object, **fields: object) -> None:
        metadata = item["metadata"]
        self._emulator.store.set_status(SERVICES, metadata["namespace"], metadata["name"], **fields)

    def _deployment(self, item: Object, name: str, predictor: Object, done: bool, replaces: bool) -> None:
        store, namespace = self._emulator.store, item["metadata"]["namespace"]
        metadata = {
            "name": name,
            "labels": {"serving.kserve.io/inferenceservice": item["metadata"]["name"]},
            "ownerReferences": [{"kind": "InferenceService", "uid": item["metadata"]["uid"]}],
        }
        template = {"metadata": {"annotations": item["metadata"]["annotations"]}, "spec": predictor}
        count = _replicas(item, predictor)
        wanted = {"metadata": metadata, "spec": {"replicas": count, "template": template}}
        try:
            live = store.replace(DEPLOYMENTS, namespace, wanted)
        except Refusal:
            live = store.create(DEPLOYMENTS, namespace, wanted)
        up = count if done or replaces else 0
        counts = {"replicas": count + int(replaces and not done), "updatedReplicas": up, "availableReplicas": up}
        store.set_status(DEPLOYMENTS, namespace, name, observedGeneration=live["metadata"]["generation"], **counts)

    def _crash(self, item: Object, deployment: str, predictor: Object) -> None:
        """Have the kubelet run a pod of the new model beside the old one, over and over."""
        metadata, model = item["metadata"], predictor["model"]
        command = [sys.executable, str(PREDICTOR), metadata["name"], str(self._folder(model["storageUri"]))]
        name = f"{deployment}-{metadata['generation']}"
        labels = {**metadata["labels"], "serving.kserve.io/inferenceservice": metadata["name"]}
        owner = {"kind": "InferenceService", "name": metadata["name"], "uid": metadata["uid"]}
        pod = {
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": metadata["annotations"],
                "ownerReferences": [owner],
            },
            "spec": {"restartPolicy": "Always", "containers": [{"name": "kserve-container", "command": command}]},
        }
        self._crashing[metadata["name"]] = name
        self._emulator.store.create(PODS, metadata["namespace"], pod)

    def _delete_old(self, item: Object, kept: set[str]) -> None:
        """Delete crashing pods of the change before, and Deployments of canaries that are no more."""
        store, namespace, name = self._emulator.store, item["metadata"]["namespace"], item["metadata"]["name"]
        pod = self._crashing.pop(name, None)
        if pod is not None:
            with contextlib.suppress(Refusal):  # gone with the service
                store.delete(PODS, namespace, pod)
        of_service = {"serving.kserve.io/inferenceservice": name}.items()
        found, _ = store.select(DEPLOYMENTS, namespace, lambda it: of_service <= it["metadata"]["labels"].items())
        for deployment in found:
            if deployment["metadata"]["name"] not in kept:
                store.delete(DEPLOYMENTS, namespace, deployment["metadata"]["name"])

    def _folder(self, uri: str) -> Path:
        return self._volume / uri.removeprefix("pvc://").partition("/")[2]

    def _start(self, item: Object, owner: str, predictor: Object) -> tuple[int, str]:
        """Start the server of a revision or Deployment, or find the one that it has for this model."""
        uri = predictor["model"]["storageUri"]
        if (owner, uri) in self._ports:
            return self._ports[owner, uri], ""
        server = subprocess.Popen(
            [sys.executable, str(PREDICTOR), item["metadata"]["name"], str(self._folder(uri))],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._servers.append(server)
        assert server.stdout is not None
        line = server.stdout.readline().strip()
        if not line.isdigit():
            return NOBODY, line
        self._ports[owner, uri] = int(line)
        return int(line), ""


def _wanted(item: Object) -> Object:
    """Return what KServe makes pods and routes of; a change of annotations alone is a change."""
    return {"annotations": item["metadata"]["annotations"], "spec": item["spec"]}


def _previous(revision: str, percent: int) -> Object:
    return {"tag": "prev", "revisionName": revision, "percent": percent}


def _number(revision: str) -> int:
    return int(revision.rpartition("-")[2] or 0)


def _canary_name(item: Object, canary: Object) -> str:
    return f"{item['metadata']['name']}-{canary['predictor']['name']}-predictor"


def _replicas(item: Object, predictor: Object) -> int:
    """Count a Deployment's replicas as KServe 0.20 does: canaries are taken off the stable model's least."""
    least = int(predictor.get("minReplicas", 1))
    if predictor is not item["spec"]["predictor"]:
        return least
    taken = sum(int(canary["predictor"].get("minReplicas", 1)) for canary in item["spec"].get("canary", []))
    return max(1, least - taken)


def is_knative(item: Object) -> bool:
    return bool(item["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] in ("Knative", "Serverless"))
