"""The payload log of real predictors: what is kept, in which form, and that no answer waits for it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.serving import payloads
from hyperflow.serving.payloads import REQUEST, RESPONSE, Event, PayloadLog
from tests.serving import models
from tests.serving.predictor import NAME, Predictor

PREDICT, INFER = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"
BODY = {"instances": [[3] * 784]}
TENSOR = {"name": "flatten_input", "shape": [1, 784], "datatype": "FP32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(models.Network(), tmp_path_factory.mktemp("logged"), onnx_copy=True)


@contextmanager
def receiver(seconds: float = 0, status: int = 200) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A real server that takes events."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            time.sleep(seconds)
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/events", got
    finally:
        server.shutdown()
        server.server_close()


def outcomes(predictor: Predictor) -> dict[str, int]:
    lines = httpx.get(predictor.url + "/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("hyperflow_payloads_total{")]
    return {line.partition('outcome="')[2].partition('"')[0]: int(float(line.rpartition(" ")[2])) for line in found}


def test_events_are_posted_as_kserves_agent_posts_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "team-a")
    with receiver() as (url, got):
        running = Predictor(tmp_path, folder, f"--log_payloads={url}")
        answer = httpx.post(running.url + PREDICT, json=BODY, headers={"ce-id": "mine"})
        binary = {**TENSOR, "parameters": {"binary_data_size": 3136}}
        head = json.dumps({"inputs": [binary], "parameters": {"binary_data_output": True}}).encode()
        raw = head + np.zeros(784, np.float32).tobytes()
        v2 = httpx.post(running.url + INFER, content=raw, headers={"inference-header-content-length": str(len(head))})
        refused = httpx.post(running.url + PREDICT, content=b"{")
        assert (answer.status_code, v2.status_code, refused.status_code) == (200, 200, 400)
        assert running.stop() == 0, running.log  # what waits is written first
    assert len(got) == 4  # nothing of what is refused
    (asked, question), (answered, reply), (asked_v2, question_v2), (answered_v2, reply_v2) = got
    assert (asked["ce-type"], answered["ce-type"]) == (REQUEST, RESPONSE)
    assert json.loads(question) == BODY
    assert reply == answer.content
    assert asked["ce-id"] == answered["ce-id"] == "mine"
    assert asked_v2["ce-id"] == answered_v2["ce-id"] != "mine"
    for headers, _ in got:
        assert headers["ce-specversion"] == "1.0"
        assert headers["ce-inferenceservicename"] == NAME
        assert (headers["ce-namespace"], headers["ce-component"]) == ("team-a", "predictor")
        assert headers["ce-source"].startswith("http://")
    assert (asked["content-type"], asked_v2["content-type"]) == ("application/json", "application/octet-stream")
    assert (question_v2, reply_v2) == (raw, v2.content)


def test_a_folder_gets_lines_that_can_be_read_again_and_no_more_bytes_than_it_may(folder: Path, tmp_path: Path) -> None:
    kept, most = tmp_path / "kept", 20_000
    (tmp_path / "p").mkdir()
    running = Predictor(tmp_path / "p", folder, f"--log_payloads={kept}", f"--log_payloads_bytes={most}")
    pretty = json.dumps(BODY, indent=1)  # its line ends must not become those of the log
    answers = [httpx.post(running.url + PREDICT, content=pretty).json() for _ in range(12)]
    deadline = time.monotonic() + 10
    while sum(outcomes(running).values()) < 12 and time.monotonic() < deadline:
        time.sleep(0.05)
    counts = outcomes(running)
    assert running.stop() == 0, running.log
    [file] = kept.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert most / 2 < file.stat().st_size <= most
    events = [json.loads(line) for line in file.read_text().splitlines()]
    asked = [each for each in events if each["type"] == REQUEST]
    answered = [each for each in events if each["type"] == RESPONSE]
    assert all(each["data"] == BODY for each in asked)
    assert all(each["data"] == answers[0] for each in answered)
    assert counts["logged"] + counts["failed"] == 12
    assert 0 < counts["logged"] <= len(answered)


def test_a_slow_receiver_delays_no_answer_and_what_it_cannot_take_is_counted(folder: Path, tmp_path: Path) -> None:
    with receiver(seconds=1) as (url, _):
        running = Predictor(tmp_path, folder, f"--log_payloads={url}")
        started = time.monotonic()
        with httpx.Client(base_url=running.url) as client:
            for _ in range(payloads.WAITING + 20):
                assert client.post(PREDICT, json=BODY).status_code == 200
        took, counts = time.monotonic() - started, outcomes(running)
        assert took < 30  # the receiver would take 552
        assert counts["dropped"] >= 1
        started = time.monotonic()
        running.process.terminate()
        assert running.process.wait(30) == 0
        assert time.monotonic() - started < 20


def test_a_receiver_that_refuses_or_is_not_there_is_counted(folder: Path, tmp_path: Path) -> None:
    with receiver(status=503) as (url, _):
        for number, place in enumerate((url, "http://127.0.0.1:9/")):
            (tmp_path / str(number)).mkdir()
            running = Predictor(tmp_path / str(number), folder, f"--log_payloads={place}")
            assert httpx.post(running.url + PREDICT, json=BODY).status_code == 200
            deadline = time.monotonic() + 10
            while not outcomes(running) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert outcomes(running) == {"failed": 1}
            assert running.stop() == 0, running.log


class Kept:
    def __init__(self, gate: threading.Event | None = None) -> None:
        self.events: list[Event] = []
        self.gate = gate

    def write(self, event: Event) -> bool:
        if self.gate:
            self.gate.wait(20)
        self.events.append(event)
        return True


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (1.0, 200, 200), (0.5, 60, 140)])
def test_a_share_of_the_requests_is_kept(share: float, least: int, most: int) -> None:
    sink, counted = Kept(), list[str]()
    log = PayloadLog("m", sink, share, counted.append)
    for _ in range(200):
        log.offer((b"{}", "application/json"), (b"{}", "application/json"))
    log.close()
    assert least <= len(sink.events) // 2 <= most
    assert counted == ["logged"] * (len(sink.events) // 2)


def test_large_payloads_wait_only_as_far_as_there_is_memory_for_them() -> None:
    gate, counted = threading.Event(), list[str]()
    log = PayloadLog("m", Kept(gate), 1.0, counted.append)
    large = bytes(payloads.WAITING_BYTES // 4)
    for _ in range(6):
        log.offer((large, "application/octet-stream"), (b"{}", "application/json"))
    assert counted == ["dropped"] * 3
    gate.set()
    log.close()
    assert counted == ["dropped"] * 3 + ["logged"] * 3


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "s3://bucket", "http://user:secret@127.0.0.1/"])
def test_a_place_of_another_kind_is_refused(place: str) -> None:
    with pytest.raises(InvalidParameter, match="log_payloads") as refused:
        payloads.sink(place, 1)
    assert "secret" not in str(refused.value)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be logged into"):
        payloads.sink(str(tmp_path / "file"), 1)


@pytest.mark.parametrize("share", ["2", "-0.1", "nan", "x"])
def test_a_share_that_is_none_is_refused(folder: Path, share: str) -> None:
    words = [f"--model_name={NAME}", f"--model_dir={folder}", f"--log_payloads_sample={share}"]
    done = subprocess.run(
        [sys.executable, "-m", "hyperflow.serving", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "is not a number from 0 to 1" in done.stderr


def test_bytes_are_kept_as_base64(tmp_path: Path) -> None:
    sink: Any = payloads.sink(str(tmp_path / "new"), 1000)
    assert sink.write(Event({"id": "1"}, "application/octet-stream", b"\xff\n"))
    [file] = (tmp_path / "new").iterdir()
    assert json.loads(file.read_text()) == {
        "id": "1", "datacontenttype": "application/octet-stream", "data_base64": "/wo=",
    }  # fmt: skip
