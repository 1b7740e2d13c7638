"""How the page asks: one address, a time limit, and no trust in the answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import urllib3
from typer.testing import CliRunner

pytest.importorskip("PIL", reason="the demo page's dependencies are not installed")

from hyperflow import volume
from hyperflow.cli import app
from hyperflow.demo import views
from hyperflow.demo.gallery import Gallery
from hyperflow.demo.pictures import Form
from hyperflow.demo.predictor import Metadata, Predictor
from hyperflow.errors import InvalidParameter, JobFailed, JobTimeout, Unavailable

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


@pytest.mark.parametrize("image", [[0.1] * 783, [float("nan")] * 784, "no", None, [[0.1]] * 784])
def test_an_explanation_that_makes_no_sense_is_refused(serve: Callable[[Answer], str], image: object) -> None:
    predictor = Predictor(serve(saying({"explanations": [{"image": image}]})), "fashion-mnist")
    with pytest.raises(JobFailed):
        predictor.explain(IMAGE[0])


@pytest.mark.parametrize("told", [{}, {"explanations": []}, {"explanations": ["x"]}])
def test_no_explanation_is_refused(serve: Callable[[Answer], str], told: object) -> None:
    with pytest.raises(JobFailed):
        Predictor(serve(saying(told)), "fashion-mnist").explain(IMAGE[0])


TOLD = {"path": "models/fashion-mnist/nightly-7", "run_id": "nightly-7", "accuracy": 0.91}


@pytest.mark.parametrize(
    ("properties", "read"),
    [
        (TOLD, Metadata(("3",), "models/fashion-mnist/nightly-7", "nightly-7", 0.91)),
        ({"accuracy": "high"}, Metadata(("3",))),
        ({"accuracy": 91}, Metadata(("3",))),
        ({"accuracy": None, "path": ""}, Metadata(("3",))),
        ([], Metadata(("3",))),
        (None, Metadata(("3",))),
    ],
)
def test_the_model_describes_itself(serve: Callable[[Answer], str], properties: object, read: Metadata) -> None:
    described = {"name": "fashion-mnist", "versions": ["3"], "platform": "x", "properties": properties}
    assert Predictor(serve(saying(described)), "fashion-mnist").describe() == read


def test_a_predictor_without_v2_is_asked_by_v1(serve: Callable[[Answer], str]) -> None:
    """As TensorFlow Serving answers, which KServe runs for `serving_runtime=tensorflow`."""
    states = [{"version": "4", "state": "LOADING"}, {"version": "3", "state": "AVAILABLE", "status": {}}]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/v2"):
            handler.send_error(404)
        else:
            saying({"model_version_status": states})(handler)

    assert Predictor(serve(answer), "fashion-mnist").describe() == Metadata(("3",))


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


def counting(sent: list[int]) -> Answer:
    """Answer with a row for each image, and note how many came in each request."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        instances = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))["instances"]
        sent.append(len(instances))
        content = json.dumps({"predictions": [[instance["flatten_input"][0], 0.5] for instance in instances]}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def test_large_images_are_sent_in_requests_that_predictors_take(serve: Callable[[Answer], str]) -> None:
    sent: list[int] = []
    images = np.zeros((5, 200, 200, 3), np.uint8)
    images[:, 0, 0, 0] = range(5)
    answers = Predictor(serve(counting(sent)), "fashion-mnist").ask(images)
    assert answers[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert sent == [2, 2, 1]


@pytest.mark.parametrize(
    ("images", "form"),
    [
        (np.zeros((4, 28, 28), np.uint8), Form((28, 28), light_on_black=True)),
        (np.full((4, 12, 20), 130, np.uint8), Form((12, 20), light_on_black=False)),
        (np.zeros((4, 32, 32, 3), np.uint8), Form((32, 32, 3), light_on_black=False)),
    ],
)
def test_visitors_pictures_get_the_form_of_the_data_sets(images: np.ndarray, form: Form) -> None:
    assert Gallery(images, np.zeros(4, np.uint8), ["a", "b"]).form == form


@pytest.mark.parametrize("colours", [True, False])
def test_page_draws_in_colour_where_the_model_sees_colours(colours: bool) -> None:
    form = Form((32, 32, 3), light_on_black=False) if colours else Form()
    drawn, uploaded = views.part("draw", form), views.part("upload", form)
    assert ('type="color"' in drawn) == colours
    assert ("garment" in uploaded) != colours
    image = np.zeros(form.shape, np.uint8)
    answer = views.answer(image, np.array([0.2, 0.8]), ["<i>", "b"], None)
    assert ("32 by 32 pixels" if colours else "28 by 28 grey pixels") in answer
    assert "<i>" not in answer


@pytest.fixture
def ports(serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Give 80 and 8080 other numbers: one that refuses, and one of a predictor; return the host and the first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = listener.getsockname()[1]
    monkeypatch.setitem(urllib3.connectionpool.port_by_scheme, "http", refusing)
    monkeypatch.setattr("hyperflow.client.http._POOL", urllib3.PoolManager(retries=False))
    listening = urlsplit(serve(saying({"versions": ["3"], "predictions": [[0.0, 1.0]]}))).port
    monkeypatch.setattr("hyperflow.demo.predictor._POD_PORT", listening)
    return str(refusing)


def test_a_service_without_an_address_of_its_own_is_asked_on_the_pods_port(ports: str) -> None:
    predictor = Predictor("http://127.0.0.1", "fashion-mnist")
    assert predictor.describe().versions == ("3",)
    assert predictor.ask(IMAGE).tolist() == [[0.0, 1.0]]


def test_a_port_that_is_stated_is_the_only_one_asked(ports: str) -> None:
    with pytest.raises(JobFailed):
        Predictor(f"http://127.0.0.1:{ports}", "fashion-mnist").describe()


def test_a_predictor_that_is_down_on_both_ports_fails(ports: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperflow.demo.predictor._POD_PORT", int(ports))
    with pytest.raises(JobFailed):
        Predictor("http://127.0.0.1", "fashion-mnist").ask(IMAGE)


def test_without_an_address_the_service_on_this_machine_is_looked_for(tmp_path: Path) -> None:
    environment = {volume.ENVIRONMENT: str(tmp_path), "HYPERFLOW_PREDICTOR_URL": ""}
    ended = CliRunner().invoke(app, ["demo"], env=environment)
    assert ended.exit_code == Unavailable.exit_code
    assert "no service 'fashion-mnist' runs here" in ended.output
