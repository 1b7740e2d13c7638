"""Hostile clients: nothing they send is answered with a 5xx, ends the server or stays in its memory.

HYPERFLOW_HOSTILE_BODIES sets how many damaged bodies are sent (default 1,000), and a quarter as many of nonsense that
is well formed, over REST and over gRPC each; `pytest -s` shows what came of them.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import orjson
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.predictor import NAME, Predictor

COUNT = int(os.environ.get("HYPERFLOW_HOSTILE_BODIES", "1000"))
PREDICT, INFER = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"
EXPLAIN = f"/v1/models/{NAME}:explain"
GOOD = orjson.dumps({"instances": [{"flatten_input": [7] * 784}]})
TENSOR = {"name": "flatten_input", "shape": [1, 784], "datatype": "FP32", "data": [7] * 784}
GOOD_V2 = orjson.dumps({"id": "1", "inputs": [TENSOR], "outputs": [{"name": "probabilities"}]})
ODD_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e400", "-1e39", "1e-400", "18446744073709551616", "0x10", "-", "1.")
AMPLIFIERS = ("[],", "{},", '{"a":1},', '"ab",', "999,", "0.1,", "null,", '"\\u0000",')
STRINGS = ('"7"', '""', '"NaN"', '"\\ud800"', '"\\u0000"', '"' + "9" * 5000 + '"', "true", "null", '{"b64":"AA=="}')


@pytest.fixture(scope="module")
def predictor(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    """One that keeps what it is asked, too: what is hostile must do no harm there either."""
    payloads = tmp_path_factory.mktemp("payloads")
    running = Predictor(tmp_path_factory.mktemp("hostile"), model_dir, f"--log_payloads={payloads}")
    yield running
    assert running.stop() == 0, running.log


class Client:
    """One connection at a time, made anew when the server closed it; counts every status."""

    def __init__(self, port: int) -> None:
        self.statuses: Counter[int] = Counter()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> int:
        self._connection.request("POST", path, body, headers or {})
        answer = self._connection.getresponse()
        answer.read()
        self.statuses[answer.status] += 1
        assert answer.status < 500, (answer.status, path, body[:200], headers)
        return answer.status


@contextmanager
def flat_memory(predictor: Predictor, what: str, statuses: Counter[Any]) -> Iterator[None]:
    """See that what the block sends leaves less than 50 MB behind, and that the server still answers; print figures."""
    before, started = resident(predictor), time.monotonic()
    yield
    seconds, grown = time.monotonic() - started, (resident(predictor) - before) / 2**20
    codes = ", ".join(f"{status} {count}" for status, count in sorted(statuses.items()))
    print(f"\n{statuses.total()} {what}: {codes}; {seconds:.0f} s, {grown:+.1f} MiB")
    assert grown < 50
    assert Client(predictor.port).post(PREDICT, GOOD) == 200


def mutations(chance: random.Random) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Damage good bodies in all the ways that come to mind, for ever."""
    while True:
        path, good = chance.choice(((PREDICT, GOOD), (INFER, GOOD_V2), (EXPLAIN, GOOD)))
        body, headers = bytearray(good), {}
        match chance.randrange(10):
            case 0:
                del body[chance.randrange(len(body)) :]
            case 1:
                for _ in range(chance.randrange(1, 20)):
                    body[chance.randrange(len(body))] = chance.randrange(256)
            case 2:
                start = chance.randrange(len(body))
                body[start : start + chance.randrange(50)] = chance.randbytes(chance.randrange(50))
            case 3:
                number = chance.choice(ODD_NUMBERS).encode() + b","
                body = bytearray(good.replace(b"7,", number, chance.randrange(1, 9)))
            case 4:
                text = "[" * chance.choice((3, 70, 1000, 1100, 100_000))
                body = bytearray(good.replace(b"7,", text.encode() + b",", 1))
            case 5:
                filler = chance.choice(AMPLIFIERS) * chance.choice((10, 1000, 20_000))
                body = bytearray(b'{"instances":[' + filler.encode()[:-1] + b"]}")
            case 6:
                headers = {"inference-header-content-length": str(chance.randrange(-5, len(good) + 5))}
            case 7:
                headers = {"content-encoding": chance.choice(("gzip", "br", "identity"))}
            case 8:
                body = bytearray(chance.randbytes(chance.randrange(3000)))
            case 9:
                text = chance.choice(STRINGS).encode() + b","
                body = bytearray(good.replace(b"7,", text, chance.choice((1, 783))))
        yield path, bytes(body), headers


def resident(predictor: Predictor) -> int:
    return int(psutil.Process(predictor.process.pid).memory_info().rss)


def test_damaged_bodies_cost_a_4xx_and_no_memory(predictor: Predictor) -> None:
    bodies = mutations(random.Random(5))
    first, client = Client(predictor.port), Client(predictor.port)
    for _ in range(min(COUNT // 10, 200)):  # what a server needs once is not a leak
        first.post(*next(bodies))
    with flat_memory(predictor, "damaged bodies", client.statuses):
        for _ in range(COUNT):
            client.post(*next(bodies))
    assert {200, 400} <= client.statuses.keys()
    metrics = urllib.request.urlopen(f"{predictor.url}/metrics", timeout=10).read().decode()
    kept = re.search(r'hyperflow_payloads_total\{.*outcome="logged"\} (\S+)', metrics)
    explained = re.search(r"hyperflow_explained_instances_total\{.*\} (\S+)", metrics)
    assert kept is not None
    assert explained is not None
    assert float(kept[1]) > 0 < float(explained[1])
    print(f"{kept[1]} payloads logged, {explained[1]} instances explained")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=10), inner, max_size=6),
    max_leaves=25,
)
v1_bodies = st.fixed_dictionaries({}, optional=dict.fromkeys(["instances", "inputs", "signature_name"], json_values))
tensors = st.fixed_dictionaries(
    {"name": st.just("flatten_input") | json_values},
    optional={
        "shape": st.lists(st.integers(-2, 800), max_size=4) | json_values,
        "datatype": st.sampled_from(["FP32", "UINT8", "INT64", "BOOL", "BYTES", "FP16"]) | json_values,
        "data": st.lists(st.integers(), max_size=3) | json_values,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers()}) | json_values,
    },
)
v2_bodies = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=3) | json_values},
    optional={"id": json_values, "outputs": json_values, "parameters": json_values},
)


def test_well_formed_nonsense_is_refused(predictor: Predictor) -> None:
    client = Client(predictor.port)

    @settings(
        max_examples=COUNT // 4, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck]
    )
    @given(
        body=st.tuples(st.just(PREDICT), v1_bodies | json_values) | st.tuples(st.just(INFER), v2_bodies | json_values)
    )
    def send(body: tuple[str, Any]) -> None:
        path, content = body
        assert client.post(path, json.dumps(content).encode()) in (400, 413)

    with flat_memory(predictor, "bodies of well-formed nonsense", client.statuses):
        send()


@pytest.fixture(scope="module")
def pb() -> ModuleType:
    from hyperflow.serving.rpc import _messages

    return _messages()


def test_damaged_grpc_messages_are_the_clients_fault(predictor: Predictor, pb: ModuleType) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="flatten_input", datatype="FP32", shape=[1, 784])
    raw = pb.ModelInferRequest(model_name=NAME, inputs=[tensor], raw_input_contents=[bytes(3136)])
    tensor.contents.fp32_contents.extend([7] * 784)
    listed = pb.ModelInferRequest(model_name=NAME, id="1", inputs=[tensor])
    chance, statuses = random.Random(6), Counter[str]()
    good = [message.SerializeToString() for message in (raw, listed)]
    with grpc.insecure_channel(f"127.0.0.1:{predictor.ports['grpc_port']}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        assert all(infer(message, timeout=20) for message in good)
        with flat_memory(predictor, "damaged gRPC messages", statuses):
            for _ in range(COUNT // 4):
                statuses[_status(infer, _damaged(chance.choice(good), chance))] += 1
    assert statuses.keys() <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"}
    assert "traceback" not in predictor.log


def _damaged(good: bytes, chance: random.Random) -> bytes:
    """Cut a message, or change some of its bytes; the first hundred say what the others are."""
    body = bytearray(good)
    match chance.randrange(4):
        case 0:
            del body[chance.randrange(len(body)) :]
        case 1:
            for _ in range(chance.randrange(1, 5)):
                body[chance.randrange(100)] = chance.randrange(256)
        case 2:
            body = bytearray(chance.randbytes(chance.randrange(1, 3000)))
        case 3:
            start = chance.randrange(len(body))
            body[start : start + chance.randrange(50)] = chance.randbytes(chance.randrange(50))
    return bytes(body)


def _status(call: Any, message: bytes) -> str:
    try:
        call(message, timeout=20)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_a_body_of_100_mb_is_refused_without_being_kept(predictor: Predictor) -> None:
    before = resident(predictor)
    process = psutil.Process(predictor.process.pid)
    for head in (f"content-length: {100 * 2**20}", "transfer-encoding: chunked"):
        peak = before
        with socket.create_connection(("127.0.0.1", predictor.port), timeout=30) as connection:
            connection.sendall(f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n".encode())
            block = b"0," * 2**19
            for _ in range(100):
                frame = block if "length" in head else b"%x\r\n%s\r\n" % (len(block), block)
                connection.sendall(frame)
                peak = max(peak, process.memory_info().rss)
            if "chunked" in head:
                connection.sendall(b"0\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 413")
        assert peak - before < 50 * 2**20


def test_the_dearest_bodies_of_the_permitted_length_stay_cheap(predictor: Predictor) -> None:
    client = Client(predictor.port)
    process = psutil.Process(predictor.process.pid)
    before = process.memory_info().rss
    for filler in AMPLIFIERS:
        body = b'{"instances":[' + filler.encode() * ((2**21 - 20) // len(filler))
        assert client.post(PREDICT, body[:-1] + b"]}") in (400, 413)
    assert process.memory_info().rss - before < 50 * 2**20


def test_a_client_that_waits_for_100_continue_is_told_before_it_sends(predictor: Predictor) -> None:
    with socket.create_connection(("127.0.0.1", predictor.port), timeout=10) as connection:
        head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_head_without_end_is_refused(predictor: Predictor) -> None:
    with socket.create_connection(("127.0.0.1", predictor.port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall((b"x-more: " + b"y" * 4000 + b"\r\n") * 5000)


def test_slow_senders_are_dropped_and_hold_nobody_up(predictor: Predictor) -> None:
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: 3000\r\n".encode()
    kinds = {
        "silent": (b"", b""), "half a line": (b"GET / HT", b""), "a head that trickles": (head, b"x"),
        "half a body": (head + b"\r\n", b""), "a body that trickles": (head + b"\r\n", b"["),
    }  # fmt: skip
    answers: dict[str, Counter[bytes]] = {kind: Counter() for kind in kinds}
    senders = [
        threading.Thread(target=_send_slowly, args=(predictor.port, *words, answers[kind]))
        for kind, words in kinds.items()
        for _ in range(20)
    ]
    client = Client(predictor.port)
    with flat_memory(predictor, "good requests beside 100 slow senders", client.statuses):
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders):
            assert client.post(PREDICT, GOOD) == 200
            time.sleep(0.05)
    assert answers == {kind: Counter({b"HTTP/1.1 408": 20}) for kind in kinds}


def _send_slowly(port: int, begin: bytes, more: bytes, answers: Counter[bytes]) -> None:
    """Send the beginning of a request, then some more every half a second, until there is an answer."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.5)
        connection.sendall(begin)
        for _ in range(60):
            try:
                answers[connection.recv(1000)[:12]] += 1
                return
            except TimeoutError:
                connection.sendall(more)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST " + PREDICT.encode() + b" HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST " + PREDICT.encode() + b" HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST " + PREDICT.encode() + b" HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /%ff%fe%00 HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET http:///[ HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ],
)
def test_what_is_hardly_http_is_no_trouble(predictor: Predictor, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", predictor.port), timeout=30) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(1000)
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    assert "traceback" not in predictor.log
    assert Client(predictor.port).post(PREDICT, GOOD) == 200
