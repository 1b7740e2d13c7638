"""KServe in an emulated cluster: a server process a generation, and one address that follows them.

A canary gets none of the requests until it is promoted; in Knative mode it has an address of its own. As in the real
one, in Standard mode a model counts as loaded while the one before answers: that the new one cannot be loaded shows in
its pod alone.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.kubeflow.emulator import Emulator
from tests.kubeflow.kubelet import PODS
from tests.kubeflow.operators import condition
from tests.kubeflow.store import Event, Key, Object, Refusal

SERVICES: Key = ("serving.kserve.io", "inferenceservices")
DEPLOYMENTS: Key = ("apps", "deployments")
LOADED = {"transitionStatus": "UpToDate", "states": {"activeModelState": "Loaded", "targetModelState": ""}}
LOADING = {"transitionStatus": "InProgress", "states": {"activeModelState": "", "targetModelState": "Loading"}}
PREDICTOR = Path(__file__).parent / "predictor.py"


class KServe:
    def __init__(self, emulator: Emulator, volume: Path) -> None:
        self._emulator, self._volume = emulator, volume
        self._doors: dict[str, Door] = {}
        self._taken_up: dict[str, Object] = {}
        self._servers: list[subprocess.Popen[str]] = []
        self._crashing: dict[str, str] = {}
        self._ports: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def handle(self, event: Event) -> None:
        if event.key != SERVICES or event.type == "DELETED":
            return
        name, wanted = event.object["metadata"]["name"], _wanted(event.object)
        if wanted != self._taken_up.get(name):
            self._taken_up[name] = wanted
            threading.Thread(target=self._roll_out, args=(event.object,), daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
        for door in self._doors.values():
            door.close()

    def _roll_out(self, item: Object) -> None:
        """Start a server for a generation beside the one that answers; Ready stays what it was until it is up."""
        name = item["metadata"]["name"]
        is_hidden = name in self._doors and not is_knative(item)
        self._delete_crashing(item)
        self._deployment(item, done=False)
        self._status(item, modelStatus=LOADED if is_hidden else LOADING)
        port, last_words = self._start(item)
        if self._taken_up[name] != _wanted(item):
            return
        if port == 0 and is_hidden:
            self._crash(item)
            return
        if port == 0:
            failure = {"reason": "ModelLoadFailed", "message": last_words, "exitCode": 1}
            states = {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
            blocked = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": failure, "states": states}
            self._status(item, modelStatus=blocked)
            return
        with self._lock:
            door = self._doors.setdefault(name, Door())
        if "canaryTrafficPercent" not in item["spec"]["predictor"] or not door.port:
            door.port = port
        revision = f"{name}-{item['metadata']['annotations']['hyperflow.dev/change']}"
        if door.port == port:
            door.revision = revision
        rolled_out = {"latestRolledoutRevision": door.revision, "traffic": self._traffic(item, door, port)}
        self._deployment(item, done=True)
        ready = [condition(kind, "") for kind in ("PredictorReady", "IngressReady", "Ready")]
        revisions = {"latestCreatedRevision": revision, "latestReadyRevision": revision, **rolled_out}
        canaries = [{"name": canary["predictor"]["name"], "ready": True} for canary in item["spec"].get("canary", [])]
        self._status(
            item,
            conditions=ready,
            url=door.url,
            address={"url": door.url},
            modelStatus=LOADED,
            components={"predictor": revisions if is_knative(item) else {}},
            canaryStatuses=canaries,
        )

    def _traffic(self, item: Object, door: Door, port: int) -> list[Object]:
        """Say which revision gets which share; a tag is part of an address."""
        share = item["spec"]["predictor"].get("canaryTrafficPercent", 100)
        newest: Object = {"latestRevision": True, "percent": share}
        if item["metadata"]["annotations"].get("serving.kserve.io/enable-tag-routing") == "true":
            name = f"latest-{item['metadata']['name']}"
            with self._lock:
                own = self._doors.setdefault(name, Door())
            own.port = port
            newest |= {"tag": "latest", "url": own.url}
        if port == door.port:
            return [newest]
        return [
            newest,
            {"tag": "prev", "revisionName": door.revision, "percent": 100 - share},
        ]

    def _status(self, item: Object, **fields: object) -> None:
        metadata = item["metadata"]
        self._emulator.store.set_status(SERVICES, metadata["namespace"], metadata["name"], **fields)

    def _deployment(self, item: Object, done: bool) -> None:
        store, namespace, name = self._emulator.store, item["metadata"]["namespace"], item["metadata"]["name"]
        metadata = {
            "name": f"{name}-predictor",
            "labels": {"serving.kserve.io/inferenceservice": name},
            "ownerReferences": [{"kind": "InferenceService", "uid": item["metadata"]["uid"]}],
        }
        template = {"metadata": {"annotations": item["metadata"]["annotations"]}, "spec": item["spec"]["predictor"]}
        wanted = {"metadata": metadata, "spec": {"replicas": 1, "template": template}}
        try:
            live = store.replace(DEPLOYMENTS, namespace, wanted)
        except Refusal:
            live = store.create(DEPLOYMENTS, namespace, wanted)
        replaces = not done and name in self._doors
        up = int(done or replaces)
        counts = {"replicas": 1 + replaces, "updatedReplicas": up, "availableReplicas": up}
        observed = live["metadata"]["generation"]
        store.set_status(DEPLOYMENTS, namespace, f"{name}-predictor", observedGeneration=observed, **counts)

    def _crash(self, item: Object) -> None:
        """Have the kubelet run a pod of the new model beside the old one, over and over."""
        metadata, model = item["metadata"], item["spec"]["predictor"]["model"]
        command = [sys.executable, str(PREDICTOR), metadata["name"], str(self._folder(model["storageUri"]))]
        name = f"{metadata['name']}-predictor-{metadata['generation']}"
        labels = {**metadata["labels"], "serving.kserve.io/inferenceservice": metadata["name"]}
        owner = {"kind": "InferenceService", "uid": metadata["uid"]}
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

    def _delete_crashing(self, item: Object) -> None:
        pod = self._crashing.pop(item["metadata"]["name"], None)
        if pod is None:
            return
        with contextlib.suppress(Refusal):  # gone with the service
            self._emulator.store.delete(PODS, item["metadata"]["namespace"], pod)

    def _folder(self, uri: str) -> Path:
        return self._volume / uri.removeprefix("pvc://").partition("/")[2]

    def _start(self, item: Object) -> tuple[int, str]:
        """Start a server, or find the one that serves the same already, as only a changed pod makes a revision."""
        uri = item["spec"]["predictor"]["model"]["storageUri"]
        if (item["metadata"]["name"], uri) in self._ports:
            return self._ports[item["metadata"]["name"], uri], ""
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
            return 0, line
        self._ports[item["metadata"]["name"], uri] = int(line)
        return int(line), ""


def _wanted(item: Object) -> Object:
    """Return what KServe makes pods of; a change of annotations alone is a change."""
    return {"annotations": item["metadata"]["annotations"], "spec": item["spec"]}


def is_knative(item: Object) -> bool:
    return bool(item["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] in ("Knative", "Serverless"))


class Door:
    """The one address of a service: passes requests on to the server that is in charge."""

    def __init__(self) -> None:
        self.port, self.revision = 0, ""
        door = self

        class Pass(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Print nothing."""

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server = http.client.HTTPConnection("127.0.0.1", door.port, timeout=20)
                server.request(self.command, self.path, body)
                answer = server.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Pass)
        self._server.daemon_threads = True
        self._server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
