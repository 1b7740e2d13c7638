"""A Kubernetes API server over real sockets, as far as the engine uses one, with faults on request."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from tests.kubeflow.store import Event, Key, Object, Refusal, Store

_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>[^/]+))?"
)
_VERBS = {"POST": "create", "PUT": "update", "DELETE": "delete"}

KINDS: dict[str, tuple[str, ...]] = {
    "": ("pods", "events", "persistentvolumeclaims", "namespaces", "configmaps", "services", "resourcequotas"),
    "kubeflow.org/v1beta1": ("experiments", "suggestions", "trials"),
    "kubeflow.org/v1": ("tfjobs",),
    "trainer.kubeflow.org/v1alpha1": ("trainjobs", "trainingruntimes"),
    "serving.kserve.io/v1beta1": ("inferenceservices",),
    "serving.kserve.io/v1alpha1": ("servingruntimes", "clusterservingruntimes"),
    "argoproj.io/v1alpha1": ("workflows",),
    "apps/v1": ("deployments",),
    "batch/v1": ("jobs",),
    "storage.k8s.io/v1": ("storageclasses",),
    "security.istio.io/v1": ("authorizationpolicies",),
    "authorization.k8s.io/v1": ("selfsubjectaccessreviews",),
    "authentication.k8s.io/v1": ("selfsubjectreviews",),
}
"""What this server has, by group and version; a test takes away what is not to be installed."""


def _judge_tfjob(_: Store, __: str, body: Object) -> str:
    templates = [replica["template"]["spec"] for replica in body["spec"]["tfReplicaSpecs"].values()]
    named = all(any(c["name"] == "tensorflow" for c in template["containers"]) for template in templates)
    return "" if named else "must have at least one container with name tensorflow"


def _judge_experiment(store: Store, namespace: str, body: Object) -> str:
    space = store.get(("", "namespaces"), "", namespace)
    if space["metadata"].get("labels", {}).get("katib.kubeflow.org/metrics-collector-injection") != "enabled":
        return ""  # the webhook is asked in namespaces with this label alone
    return "" if body["spec"].get("objective") else "spec.objective must be specified"


def _judge_trainjob(store: Store, namespace: str, body: Object) -> str:
    name = body["spec"]["runtimeRef"]["name"]
    try:
        store.get(("trainer.kubeflow.org", "trainingruntimes"), namespace, name)
    except Refusal:
        return f"specified trainingRuntime must be created before the TrainJob is created: {name}"
    return ""


WEBHOOKS: dict[str, Callable[[Store, str, Object], str]] = {
    "tfjobs": _judge_tfjob, "experiments": _judge_experiment, "trainjobs": _judge_trainjob,
}  # fmt: skip
"""What each controller's webhook says against an object; a test takes away those of controllers that are not there."""


@dataclass(frozen=True)
class Request:
    """A request as it arrived, with the words that RBAC has for it."""

    method: str
    path: str
    query: Mapping[str, str]
    at: float = field(default_factory=time.monotonic)

    @property
    def is_kept(self) -> bool:
        """Whether what it asks for is done, and not only judged."""
        return "dryRun" not in self.query

    @property
    def parts(self) -> dict[str, str]:
        match = _PATH.fullmatch(self.path)
        return {name: value or "" for name, value in match.groupdict().items()} if match else {}

    @property
    def key(self) -> Key:
        return self.parts["group"], self.parts["plural"]

    @property
    def resource(self) -> str:
        parts = self.parts
        return f"{parts['plural']}/{parts['part']}" if parts.get("part") else parts.get("plural", "")

    @property
    def verb(self) -> str:
        if self.method != "GET":
            return _VERBS[self.method]
        return "watch" if "watch" in self.query else "get" if self.parts.get("name") else "list"


@dataclass
class Fault:
    """What to answer instead, so many times; a status of 0 closes the connection without a word."""

    status: int
    matches: Callable[[Request], bool] = lambda _: True
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = "InternalError"


@dataclass(frozen=True)
class User:
    """Somebody with a token of his own, and what RBAC lets him do: API group, resource and verb; None for all."""

    name: str
    rights: frozenset[tuple[str, str, str]] | None = None


@dataclass
class Log:
    """What a container has printed so far."""

    lines: list[str] = field(default_factory=list)
    ended: bool = False


class Emulator:
    """The server: `with Emulator() as emulator: …`; `emulator.url` is where it listens."""

    def __init__(self) -> None:
        self.store = Store()
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.kinds = dict(KINDS)
        self.denied: set[tuple[str, str]] = set()
        self.logs: dict[tuple[str, str], Log] = {}
        self.token = ""
        self.users: dict[str, User] = {}
        self.webhooks = dict(WEBHOOKS)
        self.unknown: set[str] = set()
        self.kserve_fields: tuple[str, ...] = ("canary", "storageUris")
        self.kserve_splits = False
        self.bookmark_seconds = 60.0
        self.latency = 0.0
        self.streams = 0
        self._down_until = 0.0
        self._connections: set[socket.socket] = set()
        self._closed = threading.Event()
        self._server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"emulator": self}))

    def __enter__(self) -> Emulator:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self.drop_connections()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def is_down(self) -> bool:
        return self._closed.is_set() or time.monotonic() < self._down_until

    def outage(self, seconds: float) -> None:
        """Answer nobody for a while."""
        self._down_until = time.monotonic() + seconds
        self.drop_connections()

    def drop_connections(self) -> None:
        """Break all open streams, as a load balancer does."""
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._connections.discard(connection)
        with self.store.changed:
            self.store.changed.notify_all()

    def log(self, pod: str, container: str, line: str | None) -> None:
        """Add a line to a container's log; None ends it."""
        with self.store.changed:
            log = self.logs.setdefault((pod, container), Log())
            if line is None:
                log.ended = True
            else:
                log.lines.append(line)
            self.store.changed.notify_all()

    def openapi(self) -> Object:
        """Describe InferenceServices, with the fields of the KServe version at hand."""
        model: Object = {"properties": {"storageUris": {}}} if "storageUris" in self.kserve_fields else {}
        spec: Object = {"predictor": {"properties": {"model": model}}}
        if "canary" in self.kserve_fields:
            spec["canary"] = {}
        schema = {
            "properties": {"spec": {"properties": spec}},
            "x-kubernetes-group-version-kind": [{"kind": "InferenceService"}],
        }
        return {"components": {"schemas": {"io.kserve.InferenceService": schema}}}


class Server(ThreadingHTTPServer):
    """A server whose clients may go without a word."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    emulator: ClassVar[Emulator]
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.emulator._connections.add(self.connection)

    def finish(self) -> None:
        self.emulator._connections.discard(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        url = urlsplit(self.path)
        request = Request(self.command, url.path, dict(parse_qsl(url.query)))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.emulator.is_down:
            self.close_connection = True
            return
        self.emulator.requests.append(request)
        time.sleep(self.emulator.latency)
        try:
            if self._is_faulty(request):
                return
            self._authorize()
            self._answer(request, json.loads(body) if body else {})
        except Refusal as refusal:
            self._reply(refusal.body(), refusal.code)
        except OSError:
            self.close_connection = True

    def _is_faulty(self, request: Request) -> bool:
        for fault in self.emulator.faults:
            if fault.times > 0 and fault.matches(request):
                fault.times -= 1
                if fault.status:
                    self._reply(
                        Refusal(fault.status, fault.reason, "as the test asked").body(), fault.status, fault.headers
                    )
                self.close_connection = not fault.status
                return True
        return False

    def _authorize(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ").removeprefix("bearer ")
        if self.emulator.token and token != self.emulator.token:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        if self.emulator.users and token not in self.emulator.users:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        self.user = self.emulator.users.get(token, User("step"))

    def _permit(self, request: Request) -> None:
        group, resource, verb = request.parts["group"], request.resource, request.verb
        if self.user.rights is not None and (group, resource, verb) not in self.user.rights:
            where = f'API group "{group}" in the namespace "{request.parts["namespace"]}"'
            said = f'User "{self.user.name}" cannot {verb} resource "{resource}" in {where}'
            raise Refusal(403, "Forbidden", f'{resource} "{request.parts["name"]}" is forbidden: {said}')

    def _answer(self, request: Request, body: Object) -> None:
        if not request.parts or not self._is_installed(request):
            self._reply(self._discover(request.path))
        elif request.parts["plural"] == "selfsubjectaccessreviews":
            self._reply(self._review(body))
        elif request.parts["plural"] == "selfsubjectreviews":
            self._reply({**body, "status": {"userInfo": {"username": self.user.name}}}, 201)
        else:
            self._permit(request)
            self._serve_objects(request, body)

    def _serve_objects(self, request: Request, body: Object) -> None:
        if request.parts["part"] == "log":
            self._send_log(request)
        elif request.verb == "watch":
            self._watch(request)
        else:
            self._reply(self._call(request, body), 201 if request.method == "POST" else 200)

    def _is_installed(self, request: Request) -> bool:
        parts = request.parts
        group = f"{parts['group']}/{parts['version']}" if parts["group"] else ""
        return parts["plural"] in self.emulator.kinds.get(group, ())

    def _discover(self, path: str) -> Object:
        kinds = self.emulator.kinds
        if path == "/version":
            return {"gitVersion": "v1.32.4"}
        if path == "/apis":
            groups: dict[str, list[Object]] = {}
            for group, version in (name.split("/") for name in kinds if name):
                groups.setdefault(group, []).append({"version": version})
            return {"groups": [{"name": group, "versions": versions} for group, versions in groups.items()]}
        if path.startswith("/openapi/v3/apis/serving.kserve.io") and "serving.kserve.io/v1beta1" in kinds:
            return self.emulator.openapi()
        name = path.removeprefix("/apis/") if path != "/api/v1" else ""
        if name in kinds:
            return {"resources": [{"name": plural} for plural in kinds[name]]}
        raise Refusal(404, "NotFound", "the server could not find the requested resource")

    def _review(self, body: Object) -> Object:
        wanted = body["spec"]["resourceAttributes"]
        resource = "/".join(part for part in (wanted["resource"], wanted.get("subresource")) if part)
        return {**body, "status": {"allowed": (wanted["verb"], resource) not in self.emulator.denied}}

    def _call(self, request: Request, body: Object) -> Object:
        store, parts, key = self.emulator.store, request.parts, request.key
        if (request.verb, request.resource) in self.emulator.denied:
            raise Refusal(403, "Forbidden", f"cannot {request.verb} resource {request.resource}")
        namespace, name = parts["namespace"], parts["name"]
        if request.verb == "list":
            items, version = store.select(key, namespace, selected(request.query))
            return {"kind": "List", "metadata": {"resourceVersion": str(version)}, "items": items}
        if request.verb == "get":
            return store.get(key, namespace, name)
        if request.verb == "create":
            unknown = self.emulator.unknown & body.get("spec", {}).keys()
            if unknown and request.query.get("fieldValidation") == "Strict":
                raise Refusal(400, "BadRequest", f'strict decoding error: unknown field "spec.{unknown.pop()}"')
            self._admit(parts["plural"], namespace, body)
            return body if request.query.get("dryRun") == "All" else store.create(key, namespace, body)
        if request.verb == "update":
            return store.replace(key, namespace, body)
        return store.delete(key, namespace, name, body.get("preconditions", {}).get("uid"))

    def _admit(self, plural: str, namespace: str, body: Object) -> None:
        """Ask the webhook of a kind, where its controller has one."""
        webhook = self.emulator.webhooks.get(plural)
        refusal = webhook(self.emulator.store, namespace, body) if webhook else ""
        if refusal:
            raise Refusal(403, "Forbidden", f'admission webhook "validator.{plural}" denied the request: {refusal}')

    def _watch(self, request: Request) -> None:
        store, chosen = self.emulator.store, selected(request.query)
        version, end = int(request.query["resourceVersion"]), time.monotonic() + int(request.query["timeoutSeconds"])
        bookmark = time.monotonic() + self.emulator.bookmark_seconds
        self._start_stream("application/json")
        while time.monotonic() < end and not self.emulator.is_down:
            try:
                with store.changed:
                    events, latest = store.since(version)
                    if latest == version:
                        store.changed.wait(min(0.5, end - time.monotonic()))
            except Refusal as refusal:
                self._chunk({"type": "ERROR", "object": refusal.body()})
                break
            for event in events:
                if _concerns(event, request) and chosen(event.object):
                    self._chunk({"type": event.type, "object": event.object})
            version = latest
            if time.monotonic() > bookmark:
                self._chunk({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}})
                bookmark = time.monotonic() + self.emulator.bookmark_seconds
        self._end_stream()

    def _send_log(self, request: Request) -> None:
        pod, container = request.parts["name"], request.query["container"]
        self.emulator.store.get(("", "pods"), request.parts["namespace"], pod)
        log = self.emulator.logs.get((pod, container))
        if log is None:
            raise Refusal(400, "BadRequest", f'container "{container}" in pod "{pod}" is waiting to start')
        if "follow" not in request.query:
            lines = log.lines[-int(request.query["tailLines"]) :] if "tailLines" in request.query else log.lines
            return self._reply("".join(f"{line}\n" for line in lines))
        self._start_stream("text/plain")
        sent = 0
        while not self.emulator.is_down:
            with self.emulator.store.changed:
                fresh, ended = log.lines[sent:], log.ended
                if not fresh and not ended:
                    self.emulator.store.changed.wait(0.5)
            for line in fresh:
                self._chunk(f"{line}\n")
            sent += len(fresh)
            if ended and not fresh:
                break
        self._end_stream()
        return None

    def _reply(self, answer: Object | str, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _start_stream(self, content_type: str) -> None:
        self.emulator.streams += 1
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: Any) -> None:
        text = (data if isinstance(data, str) else json.dumps(data) + "\n").encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))

    def _end_stream(self) -> None:
        if not self.emulator.is_down:
            self.wfile.write(b"0\r\n\r\n")


def selected(query: Mapping[str, str]) -> Callable[[Object], bool]:
    """Return what tells whether an object is one that the selectors choose."""
    labels = dict(part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part)
    fields = dict(part.split("=", 1) for part in query.get("fieldSelector", "").split(",") if part)

    def chosen(item: Object) -> bool:
        if not labels.items() <= item["metadata"].get("labels", {}).items():
            return False
        return all(_at(item, path) == value for path, value in fields.items())

    return chosen


def _at(item: Object, path: str) -> Any:
    for name in path.split("."):
        item = item.get(name, {})
    return item


def _concerns(event: Event, request: Request) -> bool:
    return event.key == request.key and event.object["metadata"]["namespace"] == request.parts["namespace"]
