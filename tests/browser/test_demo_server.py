"""What somebody who is no browser can have from the page's server."""

from __future__ import annotations

import http.client
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hyperflow.demo.server import HEADERS, MAX_BODY

from .client import ask, call, send


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/file=/etc/hostname"),
        ("GET", "/gradio_api/file/etc/hostname"),
        ("GET", "/file=/etc/hostname"),
        ("GET", "/gradio_api/proxy=http://localhost/"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/openapi.json"),
        ("POST", "/gradio_api/run/answer"),
        ("POST", "/gradio_api/call/answer"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/vibe-edit"),
        ("GET", "/static/../../../../etc/hostname"),
        ("GET", "/assets/%2e%2e/%2e%2e/%2e%2e/routes.py"),
        ("GET", "/docs"),
        ("PUT", "/"),
    ],
)
def test_what_the_page_does_not_need_is_not_there(page: str, method: str, path: str) -> None:
    assert ask(page, method, path, b"{}" if method == "POST" else None)[0] in (403, 404)


def test_headers_keep_the_browser_from_asking_elsewhere(page: str) -> None:
    _, headers, body = ask(page, "GET", "/")
    assert HEADERS.items() <= headers.items()
    assert not re.search(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?(?:https?:)?//""", body)


def test_no_file_of_the_server_is_named(page: str, predictor: str) -> None:
    for path in ("/", "/config"):
        body = ask(page, "GET", path)[2]
        assert str(Path(__file__).parents[2]) not in body
        assert "site-packages" not in body
        assert urlsplit(predictor).netloc not in body


def test_the_predictors_address_cannot_be_given(page: str) -> None:
    assert "percent" in send(page, {"index": 0, "url": "http://192.0.2.1", "name": "other"})
    assert ask(page, "GET", "/?url=http://192.0.2.1&HYPERFLOW_PREDICTOR_URL=http://192.0.2.1")[0] == 200


def test_a_large_body_is_refused(page: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(page).netloc, timeout=20)
    connection.putrequest("POST", "/gradio_api/queue/join")
    connection.putheader("Content-Length", str(MAX_BODY + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_of_no_stated_length_is_refused(page: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(page).netloc, timeout=20)
    connection.putrequest("POST", "/gradio_api/queue/join")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    "sent",
    [
        None, [], "picture", 7, {}, {"index": -1}, {"index": 10**9}, {"index": "0"}, {"index": True}, {"index": None},
        {"index": 1.5}, {"picture": None}, {"picture": 5}, {"picture": "data:image/png;base64,"},
        {"picture": "data:image/png;base64,%%%"}, {"picture": "data:text/html;base64,PHNjcmlwdD4="},
        {"picture": "http://192.0.2.1/a.png"}, {"picture": "file:///etc/hostname"},
    ],
)  # fmt: skip
def test_what_is_no_picture_gets_a_reason(page: str, sent: object) -> None:
    shown = send(page, sent)
    assert 'role="alert"' in shown
    assert "Traceback" not in shown
    assert "/etc/hostname" not in shown


@pytest.mark.parametrize("path", ["/etc/hostname", "http://192.0.2.1/a.png", "../../etc/hostname"])
def test_a_reference_to_a_file_is_not_followed(page: str, path: str) -> None:
    outcome = call(page, {"picture": {"path": path, "meta": {"_type": "gradio.FileData"}}})
    shown = outcome["output"]["data"][0] if outcome["success"] else outcome["output"]["error"]
    assert "cannot be accessed" in shown or "did not arrive as a picture" in shown
