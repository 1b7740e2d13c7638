"""V2 over gRPC, and KServe's own clients on every protocol."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import grpc
import numpy as np
import pytest

from tests.serving.predictor import NAME, Predictor


@pytest.fixture(scope="module")
def kserve() -> Any:
    with mock.patch.object(sys, "argv", ["pytest"]):  # KServe reads the command line when it is imported
        import kserve as package
    return package


def request(kserve: Any, images: Any, binary: bool, request_id: str | None = "7", **changes: Any) -> Any:
    fields = {"name": "flatten_input", "shape": [len(images), 784], "datatype": "FP32", **changes}
    tensor = kserve.InferInput(**fields)
    tensor.set_data_from_numpy(images.astype(np.float32), binary_data=binary)
    return kserve.InferRequest(NAME, [tensor], request_id=request_id)


def with_grpc(kserve: Any, predictor: Predictor, call: Callable[[Any], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with kserve.InferenceGRPCClient(f"127.0.0.1:{predictor.ports['grpc_port']}", retries=0) as client:
            return await call(client)

    return asyncio.run(run())


def with_rest(kserve: Any, protocol: str, call: Callable[[Any], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol=protocol, retries=0))
        async with client:
            return await call(client)

    return asyncio.run(run())


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("request_id", ["7", None])
def test_kserve_grpc_client(
    kserve: Any, predictor: Predictor, images: Any, expected: Any, binary: bool, request_id: str | None
) -> None:
    sent = request(kserve, images, binary, request_id)
    answer = with_grpc(kserve, predictor, lambda client: client.infer(sent))
    np.testing.assert_allclose(answer.outputs[0].as_numpy(), expected, atol=1e-5)
    assert answer.model_name == NAME
    assert answer.id == (request_id or "")


def test_kserve_grpc_client_asks_for_readiness(kserve: Any, predictor: Predictor) -> None:
    assert with_grpc(kserve, predictor, lambda client: client.is_server_live())
    assert with_grpc(kserve, predictor, lambda client: client.is_server_ready(headers=()))
    assert with_grpc(kserve, predictor, lambda client: client.is_model_ready(NAME))


def test_kserve_rest_client_v1(kserve: Any, predictor: Predictor, images: Any, expected: Any) -> None:
    body = {"instances": images.tolist()}
    answer = with_rest(kserve, "v1", lambda client: client.infer(predictor.url, body, model_name=NAME))
    np.testing.assert_allclose(answer["predictions"], expected, atol=1e-5)
    assert with_rest(kserve, "v1", lambda client: client.is_server_live(predictor.url))
    assert with_rest(kserve, "v1", lambda client: client.is_model_ready(predictor.url, NAME))


@pytest.mark.parametrize("binary", [True, False])
def test_kserve_rest_client_v2(kserve: Any, predictor: Predictor, images: Any, expected: Any, binary: bool) -> None:
    sent = request(kserve, images, binary)
    answer = with_rest(kserve, "v2", lambda client: client.infer(predictor.url, sent, model_name=NAME))
    np.testing.assert_allclose(answer.outputs[0].as_numpy(), expected, atol=1e-5)
    assert with_rest(kserve, "v2", lambda client: client.is_server_ready(predictor.url))
    assert with_rest(kserve, "v2", lambda client: client.is_model_ready(predictor.url, NAME))


def bad_requests(pb: Any) -> dict[str, tuple[str, Any, grpc.StatusCode]]:
    tensor, good = pb.ModelInferRequest.InferInputTensor, {"model_name": NAME}
    zeros = pb.InferTensorContents(fp32_contents=[0] * 784)

    def one(**changes: Any) -> Any:
        fields = {"name": "flatten_input", "datatype": "FP32", "shape": [1, 784], "contents": zeros}
        return [tensor(**{**fields, **changes})]

    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    infer = pb.ModelInferRequest
    return {
        "other model": ("ModelInfer", infer(model_name="other", inputs=one()), missing),
        "other version": ("ModelInfer", infer(model_version="9", inputs=one(), **good), missing),
        "no inputs": ("ModelInfer", infer(**good), invalid),
        "other input": ("ModelInfer", infer(inputs=one(name="x"), **good), invalid),
        "no shape": ("ModelInfer", infer(inputs=one(shape=[]), **good), invalid),
        "negative shape": ("ModelInfer", infer(inputs=one(shape=[-1, 784]), **good), invalid),
        "huge shape": ("ModelInfer", infer(inputs=one(shape=[1, 2**31 - 1, 2**31 - 1]), **good), invalid),
        "too many": ("ModelInfer", infer(inputs=one(shape=[257, 784]), **good), invalid),
        "too few numbers": ("ModelInfer", infer(inputs=one(shape=[2, 784]), **good), invalid),
        "contents of another type": ("ModelInfer", infer(inputs=one(datatype="INT64"), **good), invalid),
        "no datatype": ("ModelInfer", infer(inputs=one(datatype=""), **good), invalid),
        "texts": ("ModelInfer", infer(inputs=one(datatype="BYTES"), **good), invalid),
        "both": ("ModelInfer", infer(inputs=one(), raw_input_contents=[bytes(3136)], **good), invalid),
        "raw too short": ("ModelInfer", infer(inputs=one(contents=None), raw_input_contents=[b"1"], **good), invalid),
        "raw too many": ("ModelInfer", infer(inputs=one(), raw_input_contents=[b"", b""], **good), invalid),
        "not finite": (
            "ModelInfer",
            infer(inputs=one(contents=None), raw_input_contents=[b"\xff" * 3136], **good),
            invalid,
        ),
        "other output": ("ModelInfer", infer(inputs=one(), outputs=[{"name": "logits"}], **good), invalid),
        "too long": (
            "ModelInfer",
            infer(inputs=one(), raw_input_contents=[bytes(3 * 2**20)], **good),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
        "metadata of another": ("ModelMetadata", pb.ModelMetadataRequest(name="other"), missing),
        "readiness of another": ("ModelReady", pb.ModelReadyRequest(name="other"), missing),
        "unload": (
            "RepositoryModelUnload",
            pb.RepositoryModelUnloadRequest(model_name=NAME),
            grpc.StatusCode.UNIMPLEMENTED,
        ),
    }


def test_grpc_refuses_with_its_status(kserve: Any, predictor: Predictor) -> None:
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    with grpc.insecure_channel(f"127.0.0.1:{predictor.ports['grpc_port']}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        for case, (method, message, status) in bad_requests(pb).items():
            with pytest.raises(grpc.RpcError) as caught:
                getattr(stub, method)(message, timeout=20)
            assert caught.value.code() is status, case
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=NAME), timeout=20)
        assert [(tensor.name, list(tensor.shape)) for tensor in metadata.inputs] == [("flatten_input", [-1, 784])]
        assert stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=20).name == "hyperflow"
