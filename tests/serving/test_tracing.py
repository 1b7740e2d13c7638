"""Traces of a real predictor, as a real OTLP receiver gets them."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from hyperflow import telemetry
from hyperflow.serving import tracing
from tests.collector import Collector, collector
from tests.serving import models
from tests.serving.predictor import NAME, Predictor

PREDICT, INFER = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"
ZEROS = [0] * 784


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(models.Network(), tmp_path_factory.mktemp("traced"), onnx_copy=True)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Collector]:
    with collector() as got:
        yield got


@pytest.fixture(scope="module")
def traced(folder: Path, receiver: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        running = Predictor(tmp_path_factory.mktemp("predictor"), folder)
    yield running
    assert running.stop() == 0, running.log


def ids() -> tuple[str, str]:
    return secrets.token_hex(16), secrets.token_hex(8)


def check(spans: list[Any], caller: str, name: str, rows: int) -> dict[str, Any]:
    """See that a request's spans hang together and follow each other."""
    by_name = {span.name: span for span in spans}
    assert by_name.keys() == {name, "queue", "batch", "model"}
    request, queue, batch, model = (by_name[each] for each in (name, "queue", "batch", "model"))
    assert request.parent_span_id.hex() == caller
    assert request.kind == 2  # a server's
    assert queue.parent_span_id == batch.parent_span_id == request.span_id
    assert model.parent_span_id == batch.span_id
    times = (
        request.start_time_unix_nano, queue.start_time_unix_nano, queue.end_time_unix_nano, model.start_time_unix_nano,
        model.end_time_unix_nano, batch.end_time_unix_nano, request.end_time_unix_nano,
    )  # fmt: skip
    assert list(times) == sorted(times)
    assert queue.end_time_unix_nano == batch.start_time_unix_nano
    assert times[0] < times[-1] < times[0] + 30 * 10**9
    assert {pair.key: pair.value.int_value for pair in queue.attributes} == {"instances": rows}
    return {pair.key: pair.value for pair in request.attributes}


def test_rest_requests_go_on_with_their_callers_trace(traced: Predictor, receiver: Collector) -> None:
    tensor = {"name": "flatten_input", "shape": [2, 784], "datatype": "FP32", "data": ZEROS * 2}
    for path, body in ((PREDICT, {"instances": [ZEROS, ZEROS]}), (INFER, {"inputs": [tensor]})):
        trace, caller = ids()
        answer = httpx.post(traced.url + path, json=body, headers={"traceparent": f"00-{trace}-{caller}-01"})
        assert answer.status_code == 200
        told = check(receiver.of(trace, 4), caller, f"POST {path}", 2)
        assert told["http.response.status_code"].int_value == 200
    assert receiver.services == {NAME}


def test_grpc_requests_go_on_with_their_callers_trace(traced: Predictor, receiver: Collector) -> None:
    from hyperflow.serving.rpc import _messages

    pb, (trace, caller) = _messages(), ids()
    tensor = pb.ModelInferRequest.InferInputTensor(name="flatten_input", datatype="FP32", shape=[3, 784])
    raw = [np.zeros((3, 784), np.float32).tobytes()]
    message = pb.ModelInferRequest(model_name=NAME, inputs=[tensor], raw_input_contents=raw)
    method = "inference.GRPCInferenceService/ModelInfer"
    with grpc.insecure_channel(f"127.0.0.1:{traced.ports['grpc_port']}") as channel:
        call = channel.unary_unary(f"/{method}")
        call(message.SerializeToString(), metadata=[("traceparent", f"00-{trace}-{caller}-01")], timeout=20)
    told = check(receiver.of(trace, 4), caller, method, 3)
    assert told["rpc.response.status_code"].string_value == "OK"


def test_a_refused_request_has_one_span_and_an_untraced_one_none(traced: Predictor, receiver: Collector) -> None:
    (refused, caller), (quiet, _), (damaged, _) = ids(), ids(), ids()
    with httpx.Client(base_url=traced.url) as client:
        client.post(PREDICT, content=b"{", headers={"traceparent": f"00-{quiet}-{caller}-00"})
        client.post(PREDICT, content=b"{", headers={"traceparent": f"00-{damaged}-{caller}-01-x"})
        client.get("/v2/health/ready", headers={"traceparent": f"00-{quiet}-{caller}-01"})
        answer = client.post(PREDICT, content=b"{", headers={"traceparent": f"00-{refused}-{caller}-01"})
    assert answer.status_code == 400
    [span] = receiver.of(refused, 1)
    assert span.status.code == 0  # what is wrong is the client's, so the server's span is no error
    assert {pair.key: pair.value.int_value for pair in span.attributes}["http.response.status_code"] == 400
    assert not [each for each in receiver.spans if each.trace_id.hex() in (quiet, damaged)]


def test_who_asks_nothing_is_traced_as_the_sampler_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as got:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", got.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
        running = Predictor(tmp_path, folder)
        for _ in range(5):
            assert httpx.post(running.url + PREDICT, json={"instances": [ZEROS]}).status_code == 200
        assert running.stop() == 0, running.log  # what waits is sent first
    roots = [span for span in got.spans if span.name.startswith("POST")]
    assert len(roots) == 5
    assert len({span.trace_id for span in roots}) == 5
    assert not any(span.parent_span_id for span in roots)
    assert got.services == {"shop"}


def test_without_a_collector_requests_are_answered_and_the_end_is_not_late(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    running = Predictor(tmp_path, folder)
    assert httpx.post(running.url + PREDICT, json={"instances": [ZEROS]}).status_code == 200
    running.process.terminate()
    assert running.process.wait(15) == 0, running.log


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9"])
def test_nothing_of_opentelemetry_is_imported_where_no_endpoint_is_set(
    folder: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    if endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    program = f"""
import asyncio, sys
from pathlib import Path
from hyperflow.serving import server, tracing
from hyperflow.serving.app import App
from hyperflow.serving.limits import Limits
from hyperflow.serving.rpc import RpcServer
from hyperflow.serving.runtimes import load
import hyperflow.steps
app = App("m", load(Path({str(folder)!r}), 8), Limits(), tracer=tracing.begin("m"))
asyncio.run(RpcServer(app).stop())
print(sum(name.partition(".")[0] == "opentelemetry" for name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert (int(done.stdout) > 0) == bool(endpoint)


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", (int("a" * 32, 16), int("b" * 16, 16), True)),
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-02", (int("a" * 32, 16), int("b" * 16, 16), False)),
        ("cc-" + "a" * 32 + "-" + "b" * 16 + "-01-later", (int("a" * 32, 16), int("b" * 16, 16), True)),
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01-later", None),
        ("00-" + "0" * 32 + "-" + "b" * 16 + "-01", None),
        ("00-" + "a" * 32 + "-" + "0" * 16 + "-01", None),
        ("ff-" + "a" * 32 + "-" + "b" * 16 + "-01", None),
        ("00-" + "A" * 32 + "-" + "b" * 16 + "-01", None),
        ("00-" + "a" * 31 + "-" + "b" * 16 + "-01", None),
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01\n", None),
        ("cc-" + "a" * 32 + "-" + "b" * 16 + "-01-" + "x" * 9999, None),
        ("", None),
        ("é", None),
    ],
)
def test_traceparents_are_read_as_w3c_says(header: str, parsed: object) -> None:
    assert tracing.parse(header) == parsed


def test_what_nobody_asked_to_trace_is_traced_ten_times_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests come; those whose callers trace them are not bounded."""
    monkeypatch.setattr(telemetry, "SHARE", 1.0)
    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    monkeypatch.setenv(telemetry.ENDPOINT, "http://127.0.0.1:9")
    exporter = telemetry.Exporter("m")
    begun, drawn = time.monotonic(), 0
    while time.monotonic() < begun + 0.55:
        drawn += exporter.samples(1, 0, False)
        assert exporter.samples(1, 2, True)
    exporter.close()
    assert 2 <= drawn <= 6
