"""Hostile clients: nothing they send is answered with a 5xx, ends the server or stays in its memory.

HYPERFLOW_HOSTILE_BODIES sets how many bodies are sent (default 1,000).
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
from collections.abc import Iterator
from typing import Any

import orjson
import psutil
import pytest
from conftest import NAME, Predictor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COUNT = int(os.environ.get("HYPERFLOW_HOSTILE_BODIES", "1000"))
PREDICT, INFER = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"
GOOD = orjson.dumps({"instances": [{"flatten_input": [7] * 784}]})
TENSOR = {"name": "flatten_input", "shape": [1, 784], "datatype": "FP32", "data": [7] * 784}
GOOD_V2 = orjson.dumps({"id": "1", "inputs": [TENSOR], "outputs": [{"name": "probabilities"}]})
ODD_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e400", "-1e39", "1e-400", "18446744073709551616", "0x10", "-", "1.")
AMPLIFIERS = ("[],", "{},", '{"a":1},', '"ab",', "999,", "0.1,", "null,", '"\\u0000",')


class Client:
    """One connection at a time, made anew when the server closed it; remembers every status."""

    def __init__(self, port: int) -> None:
        self.statuses: set[int] = set()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> int:
        self._connection.request("POST", path, body, headers or {})
        answer = self._connection.getresponse()
        answer.read()
        self.statuses.add(answer.status)
        assert answer.status < 500, (answer.status, path, body[:200], headers)
        return answer.status


def mutations(chance: random.Random) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Damage good bodies in all the ways that come to mind, for ever."""
    while True:
        path, good = chance.choice(((PREDICT, GOOD), (INFER, GOOD_V2)))
        body, headers = bytearray(good), {}
        match chance.randrange(9):
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
        yield path, bytes(body), headers


def resident(predictor: Predictor) -> int:
    return int(psutil.Process(predictor.process.pid).memory_info().rss)


def test_damaged_bodies_cost_a_4xx_and_no_memory(predictor: Predictor) -> None:
    client = Client(predictor.port)
    bodies = mutations(random.Random(5))
    for _ in range(min(COUNT // 10, 200)):  # what a server needs once is not a leak
        client.post(*next(bodies))
    before = resident(predictor)
    for _ in range(COUNT):
        client.post(*next(bodies))
    assert {200, 400} <= client.statuses
    assert resident(predictor) - before < 50 * 2**20


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


@settings(
    max_examples=COUNT // 4,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(body=st.tuples(st.just(PREDICT), v1_bodies | json_values) | st.tuples(st.just(INFER), v2_bodies | json_values))
def test_well_formed_nonsense_is_refused(predictor: Predictor, body: tuple[str, Any]) -> None:
    path, content = body
    assert Client(predictor.port).post(path, json.dumps(content).encode()) in (400, 413)


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
    slow = [socket.create_connection(("127.0.0.1", predictor.port), timeout=40) for _ in range(50)]
    for index, connection in enumerate(slow):
        connection.sendall(b"GET / HT" if index % 2 else b"")
    assert Client(predictor.port).post(PREDICT, GOOD) == 200
    for connection in slow:
        answer = connection.recv(1000)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
        connection.close()


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
