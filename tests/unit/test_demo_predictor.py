"""How the page asks: one address, a time limit, and no trust in the answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

pytest.importorskip("PIL", reason="the demo page's dependencies are not installed")

from hyperflow.demo.__main__ import parse_model
from hyperflow.demo.gallery import Gallery
from hyperflow.demo.predictor import Predictor
from hyperflow.errors import InvalidParameter, JobFailed, JobTimeout

IMAGE = np.zeros((1, 28, 28), np.uint8)
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Serve one answer to every request; return the URL."""
    servers = []

    def start(answer: Answer) -> str:
        methods = {"do_GET": answer, "do_POST": answer, "log_message": lambda *_: None}
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (BaseHTTPRequestHandler,), methods))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def saying(body: object) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        content = json.dumps(body).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte now and then, so that no socket ever times out."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def test_a_slow_predictor_is_given_up_as_a_whole(serve: Callable[[Answer], str]) -> None:
    predictor = Predictor(serve(dripping), "fashion-mnist", seconds=0.4)
    for ask in (lambda: predictor.ask(IMAGE), predictor.describe):
        started = time.monotonic()
        with pytest.raises(JobTimeout, match=r"did not answer within 0\.4 s"):
            ask()
        assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("rows", [[], [[float("nan")] * 10], [[float("inf"), 0.0]], ["no"], [[]], [[0.5, "a"]], 5])
def test_an_answer_that_makes_no_sense_is_refused(serve: Callable[[Answer], str], rows: object) -> None:
    with pytest.raises(JobFailed):
        Predictor(serve(saying({"predictions": rows})), "fashion-mnist").ask(IMAGE)


def test_the_model_describes_itself(serve: Callable[[Answer], str]) -> None:
    described = {"name": "fashion-mnist", "versions": ["3"], "platform": "tensorflow_savedmodel"}
    metadata = Predictor(serve(saying(described)), "fashion-mnist").describe()
    assert (metadata.name, metadata.versions, metadata.platform) == ("fashion-mnist", ("3",), "tensorflow_savedmodel")


@pytest.mark.parametrize("body", [[], 5, "x"])
def test_a_description_of_another_form_is_refused(serve: Callable[[Answer], str], body: object) -> None:
    with pytest.raises(JobFailed):
        Predictor(serve(saying(body)), "fashion-mnist").describe()


@pytest.mark.parametrize("url", ["", "localhost:8080", "file:///etc/passwd", "ftp://host", "http://", "http://a/?b=c"])
def test_an_address_that_is_no_web_servers_is_refused(url: str) -> None:
    with pytest.raises(InvalidParameter, match="'url'"):
        Predictor(url, "fashion-mnist")


def test_misread_images_are_the_wrong_ones_the_surest_first(serve: Callable[[Answer], str]) -> None:
    rows = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        sent = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        marks = [instance["flatten_input"][0] for instance in sent["instances"]]
        content = json.dumps({"predictions": [rows[mark] for mark in marks]}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1)
    gallery = Gallery(images, np.zeros(4, np.uint8), ["a", "b"])
    selection = gallery.misread(Predictor(serve(answer), "fashion-mnist"))
    assert (selection.indices, selection.asked, selection.right) == ((2, 1), 4, 2)


def test_what_the_operator_states_of_the_model_is_read_as_the_service_has_it() -> None:
    text = '{"accuracy": 0.9, "data": "abc", "parameters": {"units": 64}, "path": "/mnt/m", "runId": "r1"}'
    model = parse_model(text)
    assert model is not None
    assert (model.path, model.run_id, model.accuracy) == ("/mnt/m", "r1", 0.9)
    assert parse_model("") is None
    for wrong in ("{", "[]", "5", '{"path": 5}', '{"path": "relative"}', '{"path": "/a", "accuracy": 7}'):
        with pytest.raises(InvalidParameter):
            parse_model(wrong)
