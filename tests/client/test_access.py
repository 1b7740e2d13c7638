"""`hyperflow predict` and the steps' requests through an ingress, and what they say where it turns them away."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from hyperflow import client
from hyperflow.client import Access
from hyperflow.errors import InvalidParameter, JobFailed, Unavailable
from hyperflow.serving.limits import Limits
from hyperflow.specs import Endpoint, ModelRef
from tests.serving.gateway import Gateway
from tests.serving.predictor import NAME, Predictor

SMALL = Path(__file__).parents[1] / "data" / "fashion-mnist-small"
HOST = "fashion.team.example.org"
TOKEN, COOKIE = "a-token.of-letters", "authservice_session=abc123="
URL = f"http://{HOST}/v1/models/fashion"


def ask(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Call the command as its user would."""
    command = [sys.executable, "-m", "hyperflow", "predict", NAME, "--folder", str(folder)]
    command += ["--source", str(SMALL), "--dataset", "small", "--instances", "20", *words]
    result = subprocess.run(
        command, env={**os.environ, "COLUMNS": "300", **environment}, text=True, capture_output=True, timeout=120
    )
    return result.returncode, result.stdout + result.stderr


def test_command_with_host_and_token(predictor: Predictor, tmp_path: Path) -> None:
    page, secret = tmp_path / "answers.html", tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    with Gateway({HOST: predictor.port}, token=TOKEN).running() as gateway:
        words = ("--url", gateway.url, "--host", HOST, "--report", str(page))
        code, output = ask(tmp_path, *words, HYPERFLOW_TOKEN=f"@{secret}")
        assert code == 0, output
        assert set(gateway.hosts) == {HOST}
    assert "of 20, p50" in output
    assert TOKEN not in output
    assert page.read_text().count("data:image/") == 20


def test_command_with_a_cookie_judges(predictor: Predictor, tmp_path: Path) -> None:
    with Gateway({HOST: predictor.port}, cookie=COOKIE).running() as gateway:
        words = ("--url", gateway.url, "--host", HOST, "--accuracy-floor", "1")
        code, output = ask(tmp_path, *words, HYPERFLOW_COOKIE=COOKIE)
    assert code == 1
    assert "reads too few images right" in output
    assert COOKIE not in output


def test_command_without_either_is_told_of_the_login_page(predictor: Predictor, tmp_path: Path) -> None:
    with Gateway({HOST: predictor.port}, token=TOKEN).running() as gateway:
        code, output = ask(tmp_path, "--url", gateway.url, "--host", HOST)
    assert code == 1
    assert "answers 302, which sends to https://login.example.org/auth: a login is asked for" in output
    assert "no credentials were sent" in output
    assert "HYPERFLOW_TOKEN" in output
    assert "secret-state" not in output


def test_steps_read_the_secret_that_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.access, "FOLDER", tmp_path)
    assert Access.from_environment() == Access()
    for key, value in {"ingress": "https://kubeflow.example.org", "token": f"{TOKEN}\n", "cookie": COOKIE}.items():
        (tmp_path / key).write_text(value)
    assert Access.from_environment() == Access("https://kubeflow.example.org", TOKEN, COOKIE)
    monkeypatch.setenv(client.TOKEN, "another")
    assert Access.from_environment().token == "another"


def test_steps_go_through_the_ingress_of_their_environment(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gateway({HOST: predictor.port}, token=TOKEN).running() as gateway:
        monkeypatch.setenv(client.INGRESS, gateway.url)
        monkeypatch.setenv(client.TOKEN, TOKEN)
        assert client.get(URL).status == 200
        with pytest.raises(JobFailed, match="400"):
            client.post(f"{URL}:predict", {"instances": []})


@pytest.mark.parametrize(
    ("answer", "access", "said"),
    [
        ((302, "text/plain", b""), Access(), "a login is asked for"),
        ((302, "text/plain", b""), Access(token=TOKEN), "is not accepted; it may have ended"),
        ((200, "text/html; charset=utf-8", b"<form>"), Access(), "is a page: a login is asked for"),
        ((401, "text/plain", b"Jwt is missing"), Access(), "it does not know who asks"),
        ((403, "text/plain", b"RBAC: access denied"), Access(), "manifests/components/mesh"),
        ((403, "text/plain", b"RBAC: access denied"), Access(cookie=COOKIE), "let the user of this token or cookie"),
        ((403, "text/plain", b"no"), Access(), "a policy forbids it"),
        ((404, "text/plain", b""), Access(), "the gateway has no route for this host"),
        ((404, "application/json", b'{"error": "no such model"}'), Access(), "no such model"),
        ((503, "text/plain", b"upstream connect error"), Access(), "insists on mutual TLS"),
        ((500, "text/plain", b"oh"), Access(), "look at the predictor's log"),
        ((200, "application/json", b"{"), Access(), "does not answer with JSON"),
        ((200, "application/json", b"[]"), Access(), "not answer with a JSON object"),
    ],
)  # fmt: skip
def test_each_way_of_being_turned_away_is_explained(answer: tuple[int, str, bytes], access: Access, said: str) -> None:
    with Gateway({}, answer=answer).running() as gateway:
        with pytest.raises(JobFailed) as failure:
            client.post(f"{gateway.url}/v1/models/fashion:predict", {}, access)
        text = str(failure.value)
    assert said in text
    assert TOKEN not in text
    assert COOKIE not in text


def test_a_redirection_is_never_followed_with_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with Gateway({}).running() as other, Gateway({}, token="another").running() as gateway:
        monkeypatch.setattr("tests.serving.gateway.LOGIN", f"{other.url}/login")
        with pytest.raises(JobFailed, match="login"):
            client.post(f"{gateway.url}/v1/models/fashion:predict", {}, Access(token=TOKEN))
        assert gateway.hosts
        assert not other.hosts


def test_change_to_https_is_told_from_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    with Gateway({}, token=TOKEN).running() as gateway:
        monkeypatch.setattr("tests.serving.gateway.LOGIN", gateway.url.replace("http", "https") + "/v1/models/fashion")
        with pytest.raises(JobFailed, match="it wants https"):
            client.post(f"{gateway.url}/v1/models/fashion", {}, Access())


def test_no_answer_says_what_to_try() -> None:
    with pytest.raises(JobFailed, match="gives no answer"):
        client.get("http://127.0.0.1:1/v1/models/fashion", Access())
    with pytest.raises(JobFailed, match="outside the cluster ask the ingress"):
        client.get("http://fashion-predictor.team.svc.invalid/v1/models/fashion", Access())


@pytest.mark.parametrize(
    "access",
    [
        {"ingress": "ftp://gateway"}, {"ingress": "http://user:word@gateway"}, {"ingress": "http://gateway/?a=b"},
        {"ingress": "gateway"}, {"ingress": "http://[gateway"},
        {"token": "two\r\nlines"}, {"token": "with space"}, {"cookie": "no-name"},
        {"cookie": "a=b\nX-More: c"},
    ],
)  # fmt: skip
def test_what_cannot_be_part_of_a_request_is_refused_and_no_secret_shown(access: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter) as error:
        Access(**access)
    assert ("gateway" in str(error.value)) == ("gateway" in str(access) and "word" not in str(access))
    assert "word" not in str(error.value).replace("password", "")
    assert "X-More" not in str(error.value)
    assert "lines" not in str(error.value)


def test_secrets_are_not_printed_and_files_are_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "token"
    monkeypatch.setenv(client.TOKEN, f"@{secret}")
    with pytest.raises(Unavailable, match="cannot be read"):
        Access.from_environment()
    for token in ("first", "second"):
        secret.write_text(f"{token}\n")
        assert Access.from_environment().token == token
        assert token not in repr(Access.from_environment())


def test_hosts_are_checked() -> None:
    with pytest.raises(InvalidParameter, match="--host"):
        client.reach("fashion", "http://gateway", "a host\r\n")
    with pytest.raises(InvalidParameter, match="--url"):
        client.reach("fashion", "gateway", "")


def test_a_service_of_this_machine_is_asked_at_its_address(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gateway({}).running() as gateway:
        monkeypatch.setenv(client.INGRESS, gateway.url)
        assert client.get(f"{predictor.url}/v1/models/fashion").status == 200
        endpoint, access = client.reach("fashion", "http://predictor.example.org", "")
        assert access.route(endpoint.url)[0] == "http://predictor.example.org"
        assert not gateway.hosts


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"predictions": [[%s]]}' % (b"9" * 400),
        b'{"predictions": [[NaN]]}',
        b'{"predictions": [[true, "a"]]}',
        b'{"predictions": [[]]}',
    ],
    ids=["nested", "no float holds it", "NaN", "no numbers", "empty"],
)  # fmt: skip
def test_nonsense_is_a_failure_of_the_service(body: bytes) -> None:
    with Gateway({}, answer=(200, "application/json", body)).running() as gateway, pytest.raises(JobFailed):
        client.probabilities(Endpoint("m", gateway.url, ModelRef("/")), np.zeros((1, 28, 28), np.uint8), Access())


def test_rows_of_different_lengths_are_a_failure_of_the_service() -> None:
    body = b'{"predictions": [[0.5, 0.5], [1.0]]}'
    with Gateway({}, answer=(200, "application/json", body)).running() as gateway, pytest.raises(JobFailed):
        client.probabilities(Endpoint("m", gateway.url, ModelRef("/")), np.zeros((2, 28, 28), np.uint8), Access())


def test_redirection_to_nowhere_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.serving.gateway.LOGIN", "http://[bad")
    with Gateway({}, token=TOKEN).running() as gateway, pytest.raises(JobFailed, match="a login is asked for"):
        client.post(f"{gateway.url}/v1/models/fashion:predict", {}, Access())


def test_answer_that_trickles_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stop.wait(0.1):
                    connection.sendall(b"x")

        sender = threading.Thread(target=trickle)
        sender.start()
        with pytest.raises(JobFailed, match="not whole in time"):
            client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/", Access(), seconds=0.5)
        stop.set()
        sender.join(5)


@pytest.mark.parametrize(
    ("shape", "count"), [((28, 28), 256), ((32, 32, 3), 85), ((512, 512), 1), ((1000, 1000, 3), 1)]
)
def test_a_request_carries_as_many_images_as_predictors_take(shape: tuple[int, ...], count: int) -> None:
    assert client.images_a_request(np.zeros((1, *shape), np.uint8)) == count
    assert count == 1 or count * np.prod(shape) * len("255, ") < Limits().body_bytes
