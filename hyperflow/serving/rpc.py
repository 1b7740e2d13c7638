"""V2 over gRPC: the service that KServe defines, on the same model and limits as REST."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import grpc.aio
import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from hyperflow import __version__
from hyperflow.errors import Unavailable
from hyperflow.serving import logs, v2
from hyperflow.serving.app import SERVER_NAME, App
from hyperflow.serving.metrics import INFO
from hyperflow.serving.tensors import Array, RequestError, Tensors, to_array
from hyperflow.serving.tracing import TRACEPARENT

SERVICE = "inference.GRPCInferenceService"
_CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
_STATUS = {
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

_FAULTS = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED)  # the server's own, not its clients'


def _messages() -> ModuleType:
    """Load KServe's generated messages alone; importing its package takes three seconds and reads sys.argv."""
    package = importlib.util.find_spec("kserve")
    if package is None or not package.submodule_search_locations:
        raise Unavailable("gRPC cannot be served", "the package kserve is missing", "pip install hyperflow[serving]")
    path = Path(package.submodule_search_locations[0], "protocol", "grpc", "grpc_predict_v2_pb2.py")
    spec = importlib.util.spec_from_file_location("grpc_predict_v2_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class RpcServer:
    """The gRPC server of an application."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._pb = _messages()
        self._server: grpc.aio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port.

        Raises:
            Unavailable: The port cannot be used.
        """
        size = self._app.limits.body_bytes + 64 * 1024
        options = [("grpc.max_receive_message_length", size), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers()),))
        address = f"[{host}]" if ":" in host else host
        try:
            bound = self._server.add_insecure_port(f"{address}:{port}")
        except RuntimeError as error:
            what = f"port {port} of {host} cannot be used"
            raise Unavailable(what, str(error), "give another --grpc_port") from error
        await self._server.start()
        return int(bound)

    async def stop(self) -> None:
        """Let calls in flight end."""
        if self._server is not None:
            await self._server.stop(grace=self._app.limits.drain_seconds)

    def _handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        pb, app = self._pb, self._app
        extensions = list(v2.EXTENSIONS)
        calls: dict[str, tuple[Any, Callable[[Any], Any]]] = {
            "ServerLive": (pb.ServerLiveRequest, lambda _: pb.ServerLiveResponse(live=True)),
            "ServerReady": (pb.ServerReadyRequest, lambda _: pb.ServerReadyResponse(ready=not app.draining)),
            "ServerMetadata": (
                pb.ServerMetadataRequest,
                lambda _: pb.ServerMetadataResponse(name=SERVER_NAME, version=__version__, extensions=extensions),
            ),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": (pb.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": (pb.ModelInferRequest, self._infer),
        }
        return {
            name: grpc.unary_unary_rpc_method_handler(
                self._guarded(name, request, call), None, lambda message: message.SerializeToString()
            )
            for name, (request, call) in calls.items()
        }

    def _guarded(self, method: str, kind: Any, call: Callable[[Any], Any]) -> Callable[[Any, Any], Awaitable[Any]]:
        """Read the message here, where gRPC would call bytes that are none a fault; turn refusals into their status."""

        async def answer(message: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            start, code, reason = time.perf_counter(), grpc.StatusCode.UNKNOWN, ""
            tracer = self._app.tracer if method == "ModelInfer" else None
            times = tracer.begin(_traceparent(context)) if tracer else None
            try:
                result = call(_parse(message, kind))
                response = await result if isinstance(result, Awaitable) else result
                code = grpc.StatusCode.OK
                return response
            except RequestError as error:
                code, reason = _STATUS.get(error.status, grpc.StatusCode.INVALID_ARGUMENT), error.what
            finally:
                protocol = "grpc" if method == "ModelInfer" else INFO
                self._app.metrics.observe_request(protocol, code.name, time.perf_counter() - start)
                if tracer and times:
                    attributes = {"rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": method}
                    attributes["rpc.response.status_code"] = code.name
                    failed = code.name if code in _FAULTS else ""
                    tracer.end(times, f"{SERVICE}/{method}", attributes, failed)
            logs.info("request", method=method, status=code.name)
            await context.abort(code, reason)

        return answer

    def _check_model(self, name: str, version: str) -> None:
        if name != self._app.model_name:
            raise RequestError(f"this server has no other model than {self._app.model_name!r}", 404)
        if version not in ("", self._app.model.version):
            raise RequestError(f"the version served is {self._app.model.version}", 404)

    def _model_ready(self, request: Any) -> Any:
        self._check_model(request.name, request.version)
        return self._pb.ModelReadyResponse(ready=not self._app.draining)

    def _model_metadata(self, request: Any) -> Any:
        self._check_model(request.name, request.version)
        return self._pb.ModelMetadataResponse(**v2.metadata(self._app.model, self._app.model_name))

    async def _infer(self, request: Any) -> Any:
        self._check_model(request.model_name, request.model_version)
        tensors, rows = self._decode(request)
        outputs = [output.name for output in request.outputs] or list(self._app.model.outputs)
        if not set(outputs) <= set(self._app.model.outputs):
            raise RequestError(f"the model's outputs are {', '.join(map(repr, self._app.model.outputs))}")
        answer = await self._app.batcher.submit(tensors, rows)
        return self._encode(request, {name: answer[name] for name in outputs})

    def _decode(self, request: Any) -> tuple[Tensors, int]:
        raw = list(request.raw_input_contents)
        if raw and len(raw) != len(request.inputs):
            raise RequestError("there must be as many raw_input_contents as inputs")
        model, limits = self._app.model, self._app.limits
        v2.check_names([tensor.name for tensor in request.inputs], model)
        tensors: dict[str, Array] = {}
        for index, tensor in enumerate(request.inputs):
            shape = v2.check_shape(list(tensor.shape), tensor.name, limits.rows)
            dtype = v2.find_datatype(tensor.datatype, tensor.name)
            if raw and tensor.HasField("contents"):
                raise RequestError(f"input {tensor.name!r} has both contents and raw_input_contents")
            data = v2.from_bytes(raw[index], dtype, shape, tensor.name) if raw else _contents(tensor, dtype, shape)
            tensors[tensor.name] = model.inputs[tensor.name].from_array(data)
        rows = {len(array) for array in tensors.values()}
        if len(rows) != 1:
            raise RequestError("the inputs are not all of one length")
        return tensors, rows.pop()

    def _encode(self, request: Any, answer: Tensors) -> Any:
        raw = bool(request.raw_input_contents)
        response = self._pb.ModelInferResponse(
            id=request.id, model_name=request.model_name, model_version=self._app.model.version
        )
        for name, array in answer.items():
            datatype = v2.datatype(array)
            output = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if raw or datatype not in _CONTENTS:
                response.raw_output_contents.append(array.tobytes())
            else:
                getattr(output.contents, _CONTENTS[datatype]).extend(array.reshape(-1).tolist())
        return response


def _parse(message: bytes, kind: Any) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise RequestError(f"the bytes are no {kind.DESCRIPTOR.name}") from None


def _traceparent(context: Any) -> str | None:
    found = [value for name, value in context.invocation_metadata() or () if name == TRACEPARENT]
    return found[0] if len(found) == 1 else None


def _contents(tensor: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    field = _CONTENTS.get(tensor.datatype)
    numbers = list(getattr(tensor.contents, field)) if field else []
    if len(numbers) != np.prod(shape, dtype=object):
        raise RequestError(f"input {tensor.name!r}: {field or 'raw_input_contents'} and shape do not go together")
    return to_array(numbers, dtype, tensor.name).reshape(shape)
