"""What we use of MLflow's REST API, in memory and over real HTTP, with its refusals: a parameter cannot be changed, a
value that is logged again is one, a name may be taken, and whoever is not known is sent away."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, dict[str, Any]]


@dataclass
class Held:
    """A run as the server holds it."""

    info: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    values: dict[tuple[str, int, int, float], None] = field(default_factory=dict)
    """By key, step, time and value."""

    def latest(self) -> dict[str, float]:
        return {key: value for key, _, _, value in sorted(self.values, key=lambda each: (each[1], each[2]))}

    def told(self) -> dict[str, Any]:
        data: dict[str, Mapping[str, object]] = {
            "tags": self.tags, "params": self.parameters, "metrics": self.latest(),
        }  # fmt: skip
        rows = {name: [{"key": k, "value": v} for k, v in pairs.items()] for name, pairs in data.items()}
        return {"info": self.info, "data": {name: each for name, each in rows.items() if each}}


@dataclass
class Mlflow:
    """The server."""

    url: str = ""
    authorization: str = ""
    seconds: float = 0.0
    failing: str = ""
    """Paths that contain this are answered with 500."""
    instead: str = ""
    """What is answered instead, as another server would."""
    proxied: bool = True
    page: int = 1000
    asked: list[str] = field(default_factory=list)
    experiments: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Held] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    answering: int = 0
    """Requests at work, also those whose sender has gone: they are carried out all the same."""
    before_create: Any = None
    """Called once, as the next run is about to be made: who else does so at that moment."""

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, authorization: str) -> Answer:
        with self.lock:
            self.answering += 1
        try:
            return self._answer(method, path, query, body, authorization)
        finally:
            with self.lock:
                self.answering -= 1

    def _answer(self, method: str, path: str, query: dict[str, str], body: bytes, authorization: str) -> Answer:
        time.sleep(self.seconds)
        self.asked.append(f"{method} {path}")
        if authorization != self.authorization:
            return 401, {"error_code": "UNAUTHENTICATED", "message": f"You sent {authorization!r}"}
        if self.failing and self.failing in path:
            return 500, {"error_code": "INTERNAL_ERROR", "message": "the database is locked"}
        proxy = "/api/2.0/mlflow-artifacts/artifacts/"
        if method == "PUT" and path.startswith(proxy):
            self.artifacts[unquote(path.removeprefix(proxy))] = body
            return 200, {}
        name = path.removeprefix("/api/2.0/mlflow/").replace("/", "_").replace("-", "_")
        if name == "runs_create" and self.before_create:
            meanwhile, self.before_create = self.before_create, None
            meanwhile()
        with self.lock:
            return getattr(self, f"_{name}")({**query, **(json.loads(body) if body else {})})  # type: ignore[no-any-return]

    def of(self, tag: str, value: str | None = None) -> list[Held]:
        """The runs there are that have a tag."""
        there = [run for run_id, run in self.runs.items() if run_id not in self.deleted]
        return [run for run in there if tag in run.tags and value in (None, run.tags[tag])]

    def _experiments_get_by_name(self, asked: dict[str, Any]) -> Answer:
        name = asked["experiment_name"]
        if name not in self.experiments:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"no experiment {name}"}
        return 200, {"experiment": {"experiment_id": self.experiments[name], "name": name}}

    def _experiments_create(self, asked: dict[str, Any]) -> Answer:
        if asked["name"] in self.experiments:
            return 400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": "it exists"}
        self.experiments[asked["name"]] = str(len(self.experiments) + 1)
        return 200, {"experiment_id": self.experiments[asked["name"]]}

    def _runs_create(self, asked: dict[str, Any]) -> Answer:
        run_id = uuid.uuid4().hex
        place = f"mlflow-artifacts:/{run_id}/artifacts" if self.proxied else f"s3://bucket/{run_id}"
        info = {
            "run_id": run_id, "experiment_id": asked["experiment_id"], "start_time": asked["start_time"],
            "status": "RUNNING", "artifact_uri": place, "run_name": asked["run_name"],
        }  # fmt: skip
        self.runs[run_id] = Held(info, {each["key"]: each["value"] for each in asked["tags"]})
        return 200, {"run": self.runs[run_id].told()}

    def _runs_get(self, asked: dict[str, Any]) -> Answer:
        if asked["run_id"] not in self.runs:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}
        return 200, {"run": self.runs[asked["run_id"]].told()}

    def _runs_search(self, asked: dict[str, Any]) -> Answer:
        wanted = dict(re.findall(r"tags\.`([^`]+)` = '([^']*)'", asked["filter"]))
        assert wanted, asked["filter"]
        found = [
            run for run_id, run in self.runs.items()
            if run_id not in self.deleted and wanted.items() <= run.tags.items()
            and run.info["experiment_id"] in asked["experiment_ids"]
        ]  # fmt: skip
        begin = int(asked.get("page_token", 0))
        rest = found[begin + self.page :]
        more = {"next_page_token": str(begin + self.page)} if rest else {}
        return 200, {"runs": [run.told() for run in found[begin : begin + self.page]], **more}

    def _runs_update(self, asked: dict[str, Any]) -> Answer:
        self.runs[asked["run_id"]].info |= {k: v for k, v in asked.items() if k in ("status", "end_time")}
        return 200, {}

    def _runs_delete(self, asked: dict[str, Any]) -> Answer:
        self.deleted.add(asked["run_id"])
        return 200, {}

    def _runs_log_batch(self, asked: dict[str, Any]) -> Answer:
        run = self.runs[asked["run_id"]]
        sizes = {name: len(asked.get(name, [])) for name in ("metrics", "params", "tags")}
        if sizes["metrics"] > 1000 or max(sizes["params"], sizes["tags"]) > 100 or sum(sizes.values()) > 1000:
            return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "too many at once"}
        for each in asked.get("params", []):
            if run.parameters.setdefault(each["key"], each["value"]) != each["value"]:
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": f"{each['key']} is logged already"}
        run.tags |= {each["key"]: each["value"] for each in asked.get("tags", [])}
        for each in asked.get("metrics", []):
            run.values[each["key"], each["step"], each["timestamp"], each["value"]] = None
        return 200, {}

    def _metrics_get_history(self, asked: dict[str, Any]) -> Answer:
        values = self.runs[asked["run_id"]].values
        rows = [{"key": k, "step": s, "timestamp": t, "value": v} for k, s, t, v in values if k == asked["metric_key"]]
        return 200, {"metrics": rows} if rows else {}


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class Played(Protocol):
    """A server that is played, as `serving` asks it."""

    url: str
    instead: str

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, authorization: str) -> Answer:
        """Answer a request."""


_P = TypeVar("_P", bound=Played)


@contextmanager
def serving(mlflow: _P, port: int = 0) -> Iterator[_P]:
    """Serve it over HTTP while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet, or each answer waits for the client's acknowledgement

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = {name: values[0] for name, values in parse_qs(place.query).items()}
            who = self.headers.get("Authorization", "")
            status, answer = mlflow.answer(self.command, place.path, query, body, who)
            text = (mlflow.instead or json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        allow_reuse_address = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Whoever has gone away does not want the answer."""

    server = Quiet(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    mlflow.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield mlflow
    finally:
        server.shutdown()
        server.server_close()
