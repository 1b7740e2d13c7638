"""Routes and answers: a bare ASGI application, as a framework's share would be most of a request's time."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from hyperflow.client import OWN_QUESTION
from hyperflow.serving import logs, v1, v2
from hyperflow.serving.batcher import Batcher
from hyperflow.serving.body import Disconnected, read_body
from hyperflow.serving.explain import Explainer
from hyperflow.serving.limits import Limits
from hyperflow.serving.metrics import CONTENT_TYPE, INFO, Metrics
from hyperflow.serving.payloads import PayloadLog
from hyperflow.serving.tensors import Array, Model, RequestError, Tensors
from hyperflow.serving.tracing import TRACEPARENT, Timeline, Tracer

_MODEL = re.compile(r"/v[12]/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+))?")

_ID = re.compile(r"[!-~]{1,128}")
_OWN = OWN_QUESTION.encode()
_BYTES = b"application/octet-stream"

JSON_LENGTH = b"inference-header-content-length"
SERVER_NAME = "hyperflow"

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Answer:
    """What goes back: a body, its status and type."""

    body: bytes
    status: int = 200
    content_type: bytes = b"application/json"
    headers: Sequence[Header] = ()


Handler = Callable[[Scope, Receive], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """One path's handlers by method; the protocol is its label in metrics."""

    protocol: str
    handlers: Mapping[str, Handler] = field(default_factory=dict)


class App:
    """The ASGI application of one model.

    Args:
        model_name: The name in the paths.
        model: What answers.
        limits: What a request may cost.
        log_requests: Log every request; else those that are refused or fail.
        properties: What else is to be told of the model in its metadata.
        tracer: What traces the questions to the model, or None.
    """

    def __init__(
        self, model_name: str, model: Model, limits: Limits, log_requests: bool = False,
        properties: Mapping[str, Any] | None = None, tracer: Tracer | None = None,
    ) -> None:  # fmt: skip
        self.model_name, self.model, self.limits = model_name, model, limits
        self._more = {"properties": properties} if properties else {}
        self.metrics = Metrics(model_name, model.outputs)
        self.batcher = Batcher(model, limits, self.metrics.observe_batch)
        self.metrics.watch_queue(self.batcher.waiting, limits.pending_rows)
        self._explainer = Explainer(model, self.metrics.scores)
        self.draining, self.tracer = False, tracer
        self.payloads: PayloadLog | None = None
        self._log_requests = log_requests
        self._most_brackets = 64 + limits.rows * (1 + sum(spec.lists for spec in model.inputs.values()))
        self._routes = self._table()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        start = time.perf_counter()
        route = self._routes.get(scope["path"], _NOWHERE)
        times = self.tracer.begin(_traceparent(scope)) if self.tracer and route.protocol in _ASKING else None
        status = 500  # what uvicorn answers, and logs with its traceback, where the model itself fails
        try:
            answer = await self._answer(route, scope, receive)
            status = answer.status
            close = self.draining or status in (408, 413)
            await send({"type": "http.response.start", "status": status, "headers": _headers(answer, close)})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
        except Disconnected:
            status = 499
        finally:
            self._done(route, scope, status, start)
            if times:
                self._trace(times, scope, status)

    async def _answer(self, route: Route, scope: Scope, receive: Receive) -> Answer:
        handler = route.handlers.get("GET" if scope["method"] == "HEAD" else scope["method"])
        try:
            if handler is not None:
                return await handler(scope, receive)
            if route.handlers:
                allowed = ", ".join(route.handlers)
                return _error(405, f"this path takes {allowed}", ((b"allow", allowed.encode()),))
            return _error(404, self._unknown(scope["path"]))
        except RequestError as error:
            retry = ((b"retry-after", b"1"),) if error.status == 429 else ()
            return _error(error.status, error.what, retry)

    def _unknown(self, path: str) -> str:
        asked = _MODEL.match(path)
        if asked and asked["name"] != self.model_name:
            return f"this server has no other model than {self.model_name!r}"
        if asked and asked["version"] not in (None, self.model.version):
            served = self.model.version
            return f"{self.model_name!r} has no version {asked['version']!r} here; the one served is {served!r}"
        return "no such path; see /v2 and /v1/models"

    def _done(self, route: Route, scope: Scope, status: int, start: float) -> None:
        seconds = time.perf_counter() - start
        self.metrics.observe_request(route.protocol, status, seconds)
        if self._log_requests or status >= 400:
            log = logs.warning if status >= 500 else logs.info
            path = scope["path"][:200]
            log("request", method=scope["method"], path=path, status=status, ms=round(seconds * 1000, 2))

    def _trace(self, times: Timeline, scope: Scope, status: int) -> None:
        assert self.tracer is not None
        method, path = scope["method"], scope["path"]
        attributes = {"http.request.method": method, "url.path": path, "http.response.status_code": status}
        self.tracer.end(times, f"{method} {path}", attributes, str(status) if status >= 500 else "")

    def _table(self) -> dict[str, Route]:
        name, version = self.model_name, self.model.version
        table = {
            "/": Route(INFO, {"GET": self._alive}),
            "/metrics": Route(INFO, {"GET": self._metrics}),
            "/v1/models": Route(INFO, {"GET": self._models}),
            "/v2": Route(INFO, {"GET": self._server}),
            "/v2/health/live": Route(INFO, {"GET": self._live}),
            "/v2/health/ready": Route(INFO, {"GET": self._ready}),
            "/v2/models": Route(INFO, {"GET": self._models}),
        }
        for path in (f"/v1/models/{name}", f"/v1/models/{name}/versions/{version}"):
            table[path] = Route(INFO, {"GET": self._model_ready})
            table[f"{path}:predict"] = Route("v1", {"POST": self._predict})
            table[f"{path}:explain"] = Route("explain", {"POST": self._explain})
        for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
            table[path] = Route(INFO, {"GET": self._metadata})
            table[f"{path}/ready"] = Route(INFO, {"GET": self._model_ready})
            table[f"{path}/infer"] = Route("v2", {"POST": self._infer})
        return table

    async def _predict(self, scope: Scope, receive: Receive) -> Answer:
        body = await read_body(scope, receive, self.limits)
        query = v1.decode(self._parse(body), self.model, self.limits.rows)
        answer = Answer(v1.encode(query, await self.batcher.submit(query.tensors, query.rows)))
        return self._kept(scope, body, "application/json", answer)

    def _kept(self, scope: Scope, body: bytes, content_type: str, answer: Answer) -> Answer:
        """Offer a user's question and its answer to the payload log, if there is one; return the answer."""
        if self.payloads and not any(name == _OWN for name, _ in scope["headers"]):
            given = next((value for name, value in scope["headers"] if name == b"ce-id"), b"").decode("latin-1")
            response = answer.body, answer.content_type.decode()
            self.payloads.offer((body, content_type), response, given if _ID.fullmatch(given) else "")
        return answer

    async def _explain(self, scope: Scope, receive: Receive) -> Answer:
        content = self._parse(await read_body(scope, receive, self.limits))
        query = v1.decode(content, self.model, min(self.limits.rows, self.limits.explained_rows))

        async def ask(tensors: Tensors, rows: int) -> dict[str, Array]:
            return await self.batcher.submit(tensors, rows, counts=False)

        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                explained = await self._explainer.explain(query.tensors, self.limits.batch_rows, ask)
        except TimeoutError:
            raise RequestError("the model took too long to explain", 504) from None
        self.metrics.observe_explained(query.rows)
        return Answer(v1.encode_explanations(explained, v1.sent_shape(content)))

    async def _infer(self, scope: Scope, receive: Receive) -> Answer:
        body = await read_body(scope, receive, self.limits)
        length = _json_length(scope, body)
        query = v2.decode(self._parse(body[:length]), body[length:], self.model, self.limits.rows)
        answer = await self.batcher.submit(query.tensors, query.rows)
        content, json_length = v2.encode(query, answer, self.model_name, self.model.version)
        headers = () if json_length is None else ((JSON_LENGTH, b"%d" % json_length),)
        result = Answer(content, 200, _BYTES if headers else Answer.content_type, headers)
        return self._kept(scope, body, "application/json" if length == len(body) else _BYTES.decode(), result)

    async def _alive(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(v1.dump({"status": "alive"}))

    async def _models(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(v1.dump({"models": [self.model_name]}))

    async def _model_ready(self, scope: Scope, receive: Receive) -> Answer:
        return self._readiness({"name": self.model_name, "ready": not self.draining})

    async def _server(self, scope: Scope, receive: Receive) -> Answer:
        from hyperflow import __version__

        return Answer(v1.dump({"name": SERVER_NAME, "version": __version__, "extensions": v2.EXTENSIONS}))

    async def _live(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(v1.dump({"live": True}))

    async def _ready(self, scope: Scope, receive: Receive) -> Answer:
        return self._readiness({"ready": not self.draining})

    async def _metadata(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(v1.dump({**v2.metadata(self.model, self.model_name), **self._more}))

    async def _metrics(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(self.metrics.exposition(), 200, CONTENT_TYPE)

    def _parse(self, body: bytes) -> Any:
        # Empty lists and objects would take twenty times their length in memory.
        if body.count(b"[") + body.count(b"{") > self._most_brackets:
            raise RequestError("the body has more brackets than any request to this model needs")
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RequestError(f"the body is not JSON: {error}") from None

    def _readiness(self, content: Mapping[str, object]) -> Answer:
        return Answer(v1.dump(content), 503 if self.draining else 200)


_NOWHERE = Route("none")
_ASKING = ("v1", "v2")  # the protocols of questions to the model


def _json_length(scope: Scope, body: bytes) -> int:
    value = next((value for name, value in scope["headers"] if name == JSON_LENGTH), None)
    if value is None:
        return len(body)
    if not value.isdigit() or len(value) > 10 or int(value) > len(body):
        raise RequestError(f"the header {JSON_LENGTH.decode()} must be the number of the body's bytes that are JSON")
    return int(value)


def _traceparent(scope: Scope) -> str | None:
    found = [value for name, value in scope["headers"] if name == TRACEPARENT.encode()]
    return found[0].decode("latin-1") if len(found) == 1 else None


def _error(status: int, reason: str, headers: Sequence[Header] = ()) -> Answer:
    return Answer(orjson.dumps({"error": reason}), status, headers=headers)


def _headers(answer: Answer, close: bool) -> list[Header]:
    headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body)), *answer.headers]
    return [*headers, (b"connection", b"close")] if close else headers
