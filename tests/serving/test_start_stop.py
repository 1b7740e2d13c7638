"""Starting, refusing to start, handing the port over and ending, with no request lost."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hyperflow.errors import Unavailable
from hyperflow.serving import control
from hyperflow.serving.folder import ModelError
from hyperflow.serving.saved_model import SavedModel
from hyperflow.volume.paths import ONNX
from tests.serving.predictor import NAME, Predictor

BODY = json.dumps({"instances": [[0] * 784]})


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hyperflow.serving", "--model_name", NAME, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_importing_the_package_imports_no_tensorflow() -> None:
    code = "import sys, hyperflow.serving.server; print('tensorflow' in sys.modules, 'kserve' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert output == "False False\n"


def damage(model_dir: Path, kind: str) -> None:
    file = model_dir / "1" / "saved_model.pb"
    match kind:
        case "absent":
            shutil.rmtree(model_dir)
        case "no version":
            (model_dir / "1").rename(model_dir / "one")
        case "no model":
            file.unlink()
        case "empty file":
            file.write_bytes(b"")
        case "cut file":
            file.write_bytes(file.read_bytes()[:1000])
        case "no variables":
            shutil.rmtree(model_dir / "1" / "variables")


@pytest.mark.parametrize("kind", ["absent", "no version", "no model", "empty file", "cut file", "no variables"])
def test_a_damaged_model_is_refused(tmp_path: Path, model_dir: Path, kind: str) -> None:
    folder = shutil.copytree(model_dir, tmp_path / "model")
    damage(folder, kind)
    with pytest.raises(ModelError) as caught:
        SavedModel(folder)
    assert caught.value.remedy
    assert caught.value.exit_code == 3


def test_a_server_without_a_model_never_listens(tmp_path: Path, model_dir: Path) -> None:
    folder = shutil.copytree(model_dir, tmp_path / "model", ignore=shutil.ignore_patterns(ONNX.name))
    damage(folder, "no variables")
    ended = run("--model_dir", str(folder), "--http_port", "0", "--ready_file", str(tmp_path / "ready"))
    assert ended.returncode == 3
    assert "remedy:" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "ready").exists()


def test_a_port_in_use_ends_the_start_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        start = time.monotonic()
        ended = run("--model_dir", str(tmp_path), "--host", "127.0.0.1", "--http_port", port)
    assert ended.returncode == 1
    assert f"port {port}" in ended.stderr
    assert time.monotonic() - start < 8  # TensorFlow was not waited for


def test_a_control_socket_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        control.ControlServer(tmp_path / ("x" * 120), {})


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    assert run("--model_dir", str(tmp_path), "--enable_grpc", "perhaps").returncode == 2


class Load:
    """Clients that ask all the time, half of them on connections that stay open, and count what went wrong."""

    def __init__(self, port: int, clients: int = 8) -> None:
        self.port, self.answers, self.failures = port, 0, list[str]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(index % 2 == 0,)) for index in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, keep_alive: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {} if keep_alive else {"connection": "close"}
        while not self._stop.is_set():
            try:
                connection.request("POST", f"/v1/models/{NAME}:predict", BODY, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(f"status {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            self.answers += 1


def wait_for_answers(load: Load, count: int) -> None:
    wanted, deadline = load.answers + count, time.monotonic() + 30
    while load.answers < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_port_goes_from_server_to_server_under_load_without_a_failed_request(
    tmp_path: Path, model_dir: Path
) -> None:
    servers = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        servers.append(Predictor(tmp_path / name, model_dir))
    with pytest.raises(Unavailable):
        control.take(tmp_path / "nobody", socket.socket())
    assert control.give(servers[0].control) is None  # it was given no public port yet
    with socket.create_server(("127.0.0.1", 0)) as public:
        control.take(servers[0].control, public)
        port = public.getsockname()[1]
    with Load(port) as load:
        wait_for_answers(load, 100)
        listener = control.give(servers[0].control)
        assert listener is not None
        with listener:
            control.take(servers[1].control, listener)
        assert servers[0].stop() == 0
        wait_for_answers(load, 100)
        status = control.status(servers[1].control)
        assert status["public_port"] == port
        assert status["requests"] >= 100
    assert load.failures == []
    assert stat.S_IMODE(os.stat(servers[1].control).st_mode) == 0o600
    check_that_sigterm_lets_what_is_in_flight_end(servers[1])
    assert not servers[1].control.exists()


def check_that_sigterm_lets_what_is_in_flight_end(server: Predictor) -> None:
    late = socket.create_connection(("127.0.0.1", server.port))
    head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(BODY)}\r\n\r\n"
    late.sendall(head.encode() + BODY[:100].encode())
    idle = http.client.HTTPConnection("127.0.0.1", server.port)
    idle.request("GET", "/v2/health/ready")
    assert idle.getresponse().read() == b'{"ready":true}'
    server.process.terminate()
    time.sleep(0.5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    idle.request("GET", "/v2/health/ready")
    answer = idle.getresponse()
    assert (answer.status, answer.getheader("connection")) == (503, "close")
    late.sendall(BODY[100:].encode())
    received = b""
    while chunk := late.recv(65536):
        received += chunk
    assert received.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in received
    assert server.process.wait(10) == 0


def answers(control_path: Path, line: bytes) -> Any:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(control_path))
        connection.sendall(line)
        return connection.recv(1000)


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b'{"do":"dance"}\n', b'{"do":"take"}\n', b"\xff\n", b'{"do":[]}\n'])
def test_control_survives_nonsense(predictor: Predictor, line: bytes) -> None:
    answer = answers(predictor.control, line)
    assert not answer or json.loads(answer)["ok"] is False
    assert control.status(predictor.control)["model_name"] == NAME
