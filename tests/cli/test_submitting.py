"""`hyperflow submit` and `schedule`: what cannot work is refused before anything is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from hyperflow.cli import app
from hyperflow.cli.submitting import When
from hyperflow.errors import InvalidParameter


class Recorder(BaseHTTPRequestHandler):
    """An API that lets nobody in, and counts who came."""

    came: list[str]

    def do_GET(self) -> None:
        self.came.append(self.path)
        self.send_error(401)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def api() -> Iterator[tuple[str, list[str]]]:
    handler = type("OneRecorder", (Recorder,), {"came": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.came
        server.shutdown()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["submit", "--set", "epochs=-1"], "epochs"),
        (["submit", "--set", "algorithm=magic"], "algorithm"),
        (["schedule", "--every", "6h", "--set", "epochs=-1"], "epochs"),
        (["schedule"], "--cron"),
        (["schedule", "--cron", "0 3 * * *"], "--cron"),
    ],
)
def test_what_cannot_work_is_not_sent(words: list[str], said: str, api: tuple[str, list[str]]) -> None:
    endpoint, came = api
    done = CliRunner().invoke(app, [*words, "--endpoint", endpoint])
    assert (done.exit_code, said in done.output, came) == (2, True, []), done.output


def test_when_is_as_kfps_client_takes_it() -> None:
    assert When(every="6h").trigger() == {"interval_second": 21600}
    assert When(cron="0 0 3 * * *").trigger() == {"cron_expression": "0 0 3 * * *"}
    assert When(cron="@daily").trigger() == {"cron_expression": "@daily"}


@pytest.mark.parametrize(("cron", "every"), [("@daily", "6h"), ("@sometimes", ""), ("0 0 3 * *", ""), ("", "often")])
def test_times_that_cannot_be_are_refused(cron: str, every: str) -> None:
    with pytest.raises(InvalidParameter):
        When(cron, every)
