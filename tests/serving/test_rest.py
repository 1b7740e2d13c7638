"""What the REST protocols answer, status by status, on a running server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from hyperflow.volume.paths import ONNX
from tests.serving.predictor import NAME, Predictor

PREDICT, INFER = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"
ZEROS = [0] * 784


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> Any:
    with httpx.Client(base_url=predictor.url, timeout=30) as client:
        yield client


def v2_input(**changes: Any) -> dict[str, Any]:
    return {"name": "flatten_input", "shape": [1, 784], "datatype": "FP32", "data": ZEROS, **changes}


def shaped(images: Any, shape: tuple[int, ...]) -> Any:
    return images.reshape(-1, *shape).tolist()


@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1)])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", [int, float])
def test_v1_answers_as_tensorflow_does(
    client: httpx.Client, images: Any, expected: Any, shape: tuple[int, ...], named: bool, kind: type
) -> None:
    rows = shaped(images.astype(kind), shape)
    instances = [{"flatten_input": row} for row in rows] if named else rows
    answer = client.post(PREDICT, json={"instances": instances})
    assert answer.status_code == 200
    np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-5)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream", None])
def test_v1_takes_any_content_type(client: httpx.Client, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = client.post(PREDICT, content=orjson.dumps({"instances": [ZEROS]}), headers=headers)
    assert answer.status_code == 200
    assert np.sum(answer.json()["predictions"]) == pytest.approx(1)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_v1_answers_the_tutorials_curl(predictor: Predictor) -> None:
    body = json.dumps({"instances": [{"flatten_input": ZEROS}]})
    command = ["curl", "-sf", predictor.url + PREDICT, "-d", body]
    output = subprocess.run(command, check=True, capture_output=True, timeout=30).stdout
    assert len(json.loads(output)["predictions"][0]) == 10


@pytest.mark.parametrize("inputs", [[ZEROS, ZEROS], {"flatten_input": [ZEROS, ZEROS]}])
def test_v1_answers_columns_as_tensorflow_serving_does(client: httpx.Client, inputs: Any) -> None:
    answer = client.post(PREDICT, json={"signature_name": "serving_default", "inputs": inputs})
    assert np.shape(answer.json()["outputs"]) == (2, 10)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b'{"instances": [[NaN]]}', 400, "not JSON"),
        (b"[" * 500_000, 400, "brackets"),
        (b"[" * 5_000, 400, "not JSON"),
        (b"[1]", 400, "object"),
        ({}, 400, "instances"),
        ({"instances": []}, 400, "one or more"),
        ({"instances": 3}, 400, "list"),
        ({"instances": {"flatten_input": ZEROS}}, 400, "list"),
        ({"instances": [ZEROS], "inputs": [ZEROS]}, 400, "not both"),
        ({"instances": [ZEROS], "signature_name": "other"}, 400, "serving_default"),
        ({"instances": [[0] * 783]}, 400, "783 numbers"),
        ({"instances": [ZEROS, [0] * 785]}, 400, "not every instance"),
        ({"instances": [[[0] * 14] * 56]}, 400, "56×14"),
        ({"instances": [{"image": ZEROS}]}, 400, "flatten_input"),
        ({"instances": [{"flatten_input": ZEROS, "more": 1}]}, 400, "no more"),
        ({"instances": [{"flatten_input": ZEROS}, ZEROS]}, 400, "each"),
        ({"instances": [["0"] * 784]}, 400, "nothing but numbers"),
        ({"instances": [[None] * 784]}, 400, "nothing but numbers"),
        ({"instances": [[True] + [0] * 783]}, 400, "nothing but numbers"),
        ({"instances": [[1e39] * 784]}, 400, "finite"),
        ({"instances": ["x" * 784]}, 400, "784 numbers"),
        ({"instances": [[0]] * 257}, 413, "256"),
        ({"inputs": {"other": [ZEROS]}}, 400, "flatten_input"),
    ],
)
def test_v1_refuses_with_the_reason(client: httpx.Client, body: Any, status: int, reason: str) -> None:
    answer = client.post(PREDICT, content=body if isinstance(body, bytes) else orjson.dumps(body))
    assert answer.status_code == status
    assert reason in answer.json()["error"]


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "UINT8", "INT32", "INT64"])
@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1)])
def test_v2_answers_as_tensorflow_does(
    client: httpx.Client, images: Any, expected: Any, datatype: str, shape: tuple[int, ...]
) -> None:
    tensor = v2_input(shape=[40, *shape], datatype=datatype, data=images.ravel().tolist())
    answer = client.post(INFER, json={"id": "7", "inputs": [tensor]}).json()
    (output,) = answer.pop("outputs")
    assert answer == {"model_name": NAME, "model_version": "1", "id": "7"}
    np.testing.assert_allclose(np.reshape(output.pop("data"), (40, 10)), expected, atol=1e-5)
    assert output == {"name": "probabilities", "shape": [40, 10], "datatype": "FP32"}


def test_v2_takes_nested_data_and_makes_an_id(client: httpx.Client, images: Any) -> None:
    tensor = v2_input(shape=[2, 28, 28], data=shaped(images[:2], (28, 28)))
    answer = client.post(INFER, json={"inputs": [tensor], "outputs": [{"name": "probabilities"}]})
    assert answer.status_code == 200
    assert answer.json()["id"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int64])
@pytest.mark.parametrize("binary_answer", [True, False])
def test_v2_takes_and_gives_bytes(
    client: httpx.Client, images: Any, expected: Any, dtype: Any, binary_answer: bool
) -> None:
    data = images.astype(dtype).tobytes()
    names = {np.float16: "FP16", np.float32: "FP32", np.float64: "FP64", np.uint8: "UINT8", np.int64: "INT64"}
    tensor: dict[str, Any] = {"name": "flatten_input", "shape": [40, 784], "datatype": names[dtype]}
    tensor["parameters"] = {"binary_data_size": len(data)}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": binary_answer}})
    answer = client.post(INFER, content=head + data, headers={"inference-header-content-length": str(len(head))})
    assert answer.status_code == 200
    if binary_answer:
        length = int(answer.headers["inference-header-content-length"])
        assert orjson.loads(answer.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 1600}
        got = np.frombuffer(answer.content[length:], np.float32).reshape(40, 10)
    else:
        got = np.reshape(answer.json()["outputs"][0]["data"], (40, 10))
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "not JSON"),
        ([], 400, "object"),
        ({}, 400, "inputs"),
        ({"inputs": []}, 400, "inputs"),
        ({"inputs": [1]}, 400, "inputs"),
        ({"inputs": [{}]}, 400, "name"),
        ({"id": 3, "inputs": [v2_input()]}, 400, "id"),
        ({"inputs": [v2_input(name="other")]}, 400, "flatten_input"),
        ({"inputs": [v2_input(), v2_input()]}, 400, "once"),
        ({"inputs": [{**v2_input(), "shape": None}]}, 400, "shape"),
        ({"inputs": [v2_input(shape="1")]}, 400, "shape"),
        ({"inputs": [v2_input(shape=[])]}, 400, "shape"),
        ({"inputs": [v2_input(shape=[0, 784])]}, 400, "shape"),
        ({"inputs": [v2_input(shape=[-1, 784])]}, 400, "shape"),
        ({"inputs": [v2_input(shape=[1.0, 784])]}, 400, "shape"),
        ({"inputs": [v2_input(shape=[1, 2**40])]}, 400, "shape"),
        ({"inputs": [v2_input(shape=[2**30, 2**30])]}, 413, "256"),
        ({"inputs": [v2_input(shape=[1, 783])]}, 400, "783"),
        ({"inputs": [v2_input(shape=[2, 784])]}, 400, "1568"),
        ({"inputs": [v2_input(shape=[1, 784, *[1] * 60])]}, 400, "it takes"),
        ({"inputs": [v2_input(datatype="FP33")]}, 400, "datatype"),
        ({"inputs": [v2_input(datatype="BYTES")]}, 400, "datatype"),
        ({"inputs": [v2_input(datatype="FP16")]}, 400, "FP16"),
        ({"inputs": [v2_input(datatype="UINT8", data=[256] * 784)]}, 400, "range"),
        ({"inputs": [v2_input(datatype="INT32", data=[0.5] * 784)]}, 400, "whole numbers"),
        ({"inputs": [v2_input(data=["0"] * 784)]}, 400, "numbers"),
        ({"inputs": [v2_input(data=None)]}, 400, "no data"),
        ({"inputs": [v2_input(data=[[[]]])]}, 400, "another number"),
        ({"inputs": [v2_input(datatype="FP64", data=[1e300] * 784)]}, 400, "finite"),
        ({"inputs": [v2_input()], "outputs": [{"name": "logits"}]}, 400, "probabilities"),
        ({"inputs": [v2_input()], "outputs": "probabilities"}, 400, "outputs"),
        ({"inputs": [v2_input()], "parameters": []}, 400, "parameters"),
        ({"inputs": [v2_input(parameters={"binary_data_size": 5})]}, 400, "both"),
        ({"inputs": [v2_input(shape=[257, 784])]}, 413, "256"),
    ],
)
def test_v2_refuses_with_the_reason(client: httpx.Client, body: Any, status: int, reason: str) -> None:
    answer = client.post(INFER, content=body if isinstance(body, bytes) else orjson.dumps(body))
    assert answer.status_code == status
    assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("size", "length"),
    [(3136, "0"), (3136, "999999"), (3136, "-1"), (3136, "x"), (3135, None), (0, None), (3137, None)],
)
def test_v2_refuses_bytes_that_do_not_add_up(client: httpx.Client, size: int, length: str | None) -> None:
    tensor = {"name": "flatten_input", "shape": [1, 784], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    head = orjson.dumps({"inputs": [tensor]})
    headers = {"inference-header-content-length": length or str(len(head))}
    assert client.post(INFER, content=head + bytes(3136), headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "content"),
    [
        ("GET", "/", 200, {"status": "alive"}),
        ("GET", "/v1/models", 200, {"models": [NAME]}),
        ("GET", f"/v1/models/{NAME}", 200, {"name": NAME, "ready": True}),
        ("GET", "/v2/health/live", 200, {"live": True}),
        ("GET", "/v2/health/ready", 200, {"ready": True}),
        ("GET", "/v2/models", 200, {"models": [NAME]}),
        ("GET", f"/v2/models/{NAME}/ready", 200, {"name": NAME, "ready": True}),
        ("GET", f"/v2/models/{NAME}/versions/1/ready", 200, {"name": NAME, "ready": True}),
        ("GET", f"/v2/models/{NAME}/versions/2/ready", 404, None),
        ("GET", "/v1/models/other", 404, None),
        ("POST", "/v1/models/other:predict", 404, None),
        ("POST", "/v2/models/other/infer", 404, None),
        ("POST", f"/v2/repository/models/{NAME}/unload", 404, None),
        ("GET", "/nothing", 404, None),
        ("GET", PREDICT, 405, None),
        ("DELETE", INFER, 405, None),
        ("HEAD", "/v2/health/ready", 200, None),
    ],
)
def test_paths_and_methods(client: httpx.Client, method: str, path: str, status: int, content: Any) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    if content is not None:
        assert answer.json() == content
    elif method != "HEAD":
        assert answer.json()["error"]


def test_v2_describes_server_and_model(client: httpx.Client, model_dir: Path) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get(f"/v2/models/{NAME}").json() == {
        "name": NAME,
        "versions": ["1"],
        "platform": "onnx_onnxv1" if (model_dir / "1" / ONNX).exists() else "tensorflow_savedmodel",
        "inputs": [{"name": "flatten_input", "datatype": "FP32", "shape": [-1, 784]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
    }


def test_metrics_count_what_happened(client: httpx.Client, predictor: Predictor) -> None:
    def value(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    before = {name: value(name) for name in ("hyperflow_instances_total", "hyperflow_predicted_class_total")}
    confidence = value("hyperflow_confidence_total")
    answer = client.post(PREDICT, json={"instances": [ZEROS] * 3}).json()["predictions"]
    assert {name: value(name) - count for name, count in before.items()} == dict.fromkeys(before, 3)
    assert value("hyperflow_confidence_total") - confidence == pytest.approx(3 * max(answer[0]), abs=1e-4)
    for name in ("hyperflow_request_seconds_count", "hyperflow_batch_size_count", "process_resident_memory_bytes"):
        assert value(name) > 0


def test_logs_are_json_without_payloads(client: httpx.Client, predictor: Predictor) -> None:
    client.post(PREDICT, json={"instances": [{"flatten_input": "a secret thing"}]})
    lines = [json.loads(line) for line in predictor.log.splitlines() if line.startswith("{")]
    started = [line for line in lines if line["message"] == "serving"]
    assert [line["model"] for line in started] == [NAME]
    assert {"time", "level", "method", "path", "status", "ms"} <= lines[-1].keys()
    assert "a secret thing" not in predictor.log


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"/v1/models/{NAME}/versions/7:predict", "has no version '7' here; the one served is '1'"),
        (f"/v2/models/{NAME}/versions/7/infer", "has no version '7' here; the one served is '1'"),
        (f"/v2/models/{NAME}/versions/1/load", "no such path"),
        (f"/v1/models/{NAME}2:predict", f"no other model than '{NAME}'"),
    ],
)
def test_unknown_version_or_model_is_called_that(client: httpx.Client, path: str, said: str) -> None:
    answer = client.post(path, json={"instances": [ZEROS]})
    assert answer.status_code == 404
    assert said in answer.json()["error"]
