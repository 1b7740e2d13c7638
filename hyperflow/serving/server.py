"""The predictor's program: load the model, warm it, listen, and end without losing a request."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop

from hyperflow import volume
from hyperflow.errors import HyperflowError, Unavailable
from hyperflow.serving import logs, payloads, provenance, tracing
from hyperflow.serving.app import App
from hyperflow.serving.control import ControlServer
from hyperflow.serving.http_server import BACKLOG, HttpServer
from hyperflow.serving.limits import Limits
from hyperflow.serving.payloads import PayloadLog
from hyperflow.serving.rpc import RpcServer
from hyperflow.serving.runtimes import load


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM; return the exit code."""
    arguments = _parser().parse_args(argv)
    logs.configure()
    try:
        return _serve(arguments)
    except HyperflowError as error:
        print(error.told, file=sys.stderr, flush=True)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m hyperflow.serving", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model_name", required=True, help="the name in the paths")
    parser.add_argument("--model_dir", required=True, type=Path, help="the folder above the version folder")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")
    parser.add_argument("--http_port", default=8080, type=int, help="REST port; 0 for a free one")
    parser.add_argument("--grpc_port", default=8081, type=int, help="gRPC port; 0 for a free one")
    parser.add_argument("--enable_grpc", default=True, type=_truth, metavar="true|false", help="serve gRPC too")
    parser.add_argument("--ready_file", type=Path, help="file to write once the model answers: pid and ports")
    parser.add_argument("--control", type=Path, help="unix socket by which the next server takes over the port")
    parser.add_argument("--log_requests", default=False, type=_truth, metavar="true|false", help="log every request")
    where = "keep requests and answers, as KServe's CloudEvents: a folder, or an http(s) URL"
    parser.add_argument("--log_payloads", metavar="FOLDER|URL", help=where)
    parser.add_argument("--log_payloads_sample", default=1.0, type=_share, help="share of the requests kept, 0 to 1")
    parser.add_argument("--log_payloads_bytes", default=256 * 2**20, type=_positive, help="most bytes in the folder")
    limits = Limits()
    parser.add_argument("--max_body_bytes", default=limits.body_bytes, type=_positive, help="length of a body")
    parser.add_argument("--max_instances", default=limits.rows, type=_positive, help="instances in one request")
    parser.add_argument("--max_batch_size", default=limits.batch_rows, type=_positive, help="instances in one call")
    parser.add_argument("--model_threads", default=1, type=_positive, help="threads of one call of ONNX Runtime")
    parser.add_argument("--timeout", default=limits.answer_seconds, type=float, help="seconds an answer may take")
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    listener = _bind(arguments.host, arguments.http_port)  # before the model is loaded: a port taken shows at once
    limits = Limits(
        body_bytes=arguments.max_body_bytes,
        rows=arguments.max_instances,
        batch_rows=arguments.max_batch_size,
        answer_seconds=arguments.timeout,
    )
    model = load(arguments.model_dir, limits.batch_rows, arguments.model_threads)
    properties = provenance.properties(arguments.model_dir, arguments.model_name)
    tracer = tracing.begin(arguments.model_name)
    app = App(arguments.model_name, model, limits, arguments.log_requests, properties, tracer)
    app.payloads = _payloads(arguments, app)
    expected = provenance.expected(arguments.model_dir, model.version)
    app.metrics.describe(properties.get("run_id", ""), model.version, model.platform, expected)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Predictor(arguments, app, listener).run())
    if tracer:
        tracer.close()
    if app.payloads:
        app.payloads.close()
    return 0


class _Predictor:
    """The servers of one process, and the public port, which may go from hand to hand."""

    def __init__(self, arguments: argparse.Namespace, app: App, listener: socket.socket) -> None:
        self._arguments, self._app, self._listener = arguments, app, listener
        self._http_port, self._public_port = _port(listener), arguments.http_port or None
        self._public = listener if arguments.http_port else None
        self._http = HttpServer(app, self._started, self._draining)
        self._rpc = RpcServer(app) if arguments.enable_grpc else None
        self._grpc_port = 0
        self._control: ControlServer | None = None

    async def run(self) -> None:
        """Serve until a signal, then let what is in flight end."""
        if self._rpc:
            self._grpc_port = await self._rpc.start(self._arguments.host, self._arguments.grpc_port)
        self._loop = asyncio.get_running_loop()
        try:
            _listen(self._listener)
            await self._http.serve([self._listener.dup()])
        finally:
            if self._control:
                self._control.close()
            if self._rpc:
                await self._rpc.stop()
            self._app.batcher.close()
        logs.info("drained", requests=self._app.metrics.requests)

    def _started(self) -> None:
        arguments = self._arguments
        if arguments.control:
            verbs = {"status": self._status, "give": self._give, "take": self._take}
            self._control = ControlServer(arguments.control, verbs)
        ports = {"pid": os.getpid(), "http_port": self._http_port, "grpc_port": self._grpc_port}
        model = self._app.model
        logs.info("serving", model=arguments.model_name, version=model.version, platform=model.platform, **ports)
        if arguments.ready_file:
            volume.write_text(arguments.ready_file, json.dumps(ports))

    def _draining(self) -> None:
        """End gRPC along with REST, and close every copy of the listening sockets."""
        self._listener.close()  # on an open copy, the kernel would accept connections that nobody serves
        if self._public:
            self._public.close()
            self._public = None
        if self._rpc:
            self._rpc_end = asyncio.ensure_future(self._rpc.stop())

    def _status(self, descriptors: list[int]) -> tuple[Mapping[str, object], list[int]]:
        answer = {
            "ok": True,
            "pid": os.getpid(),
            "model_name": self._arguments.model_name,
            "model_dir": str(self._arguments.model_dir),
            "version": self._app.model.version,
            "http_port": self._http_port,
            "grpc_port": self._grpc_port,
            "public_port": self._public_port,
            "requests": self._app.metrics.requests,
            "draining": self._app.draining,
        }
        return answer, []

    def _give(self, descriptors: list[int]) -> tuple[Mapping[str, object], list[int]]:
        if self._public is None:
            return {"ok": False, "error": "this server has no public port"}, []
        return {"ok": True}, [self._public.fileno()]

    def _take(self, descriptors: list[int]) -> tuple[Mapping[str, object], list[int]]:
        if not descriptors:
            return {"ok": False, "error": "no socket came with the request"}, []
        if self._app.draining:
            os.close(descriptors[0])
            return {"ok": False, "error": "this server is about to end"}, []
        listener = socket.socket(fileno=descriptors[0])
        listener.setblocking(False)
        asyncio.run_coroutine_threadsafe(self._http.accept_on(listener.dup()), self._loop).result(timeout=5)
        self._public, self._public_port = listener, _port(listener)
        logs.info("took over a port", public_port=self._public_port)
        return {"ok": True}, []


def _payloads(arguments: argparse.Namespace, app: App) -> PayloadLog | None:
    if not arguments.log_payloads:
        return None
    sink = payloads.sink(arguments.log_payloads, arguments.log_payloads_bytes)
    return PayloadLog(arguments.model_name, sink, arguments.log_payloads_sample, app.metrics.observe_payload)


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise Unavailable(f"port {port} of {host} cannot be used", str(error), "give another --http_port") from error
    listener.setblocking(False)
    return listener


def _listen(listener: socket.socket) -> None:
    try:
        listener.listen(BACKLOG)
    except OSError as error:  # another has bound the port as well meanwhile, and listens
        what = f"port {_port(listener)} cannot be used"
        raise Unavailable(what, str(error), "give another --http_port") from error


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _truth(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return share


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)
