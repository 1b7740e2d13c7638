"""The page of a run that goes on: what it shows, whom it answers, how it ends."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from hyperflow import runner, translation, volume
from hyperflow.engines.search import log_of
from hyperflow.engines.search import study as studies
from hyperflow.errors import JobFailed, Unavailable
from hyperflow.parameters import Parameters
from hyperflow.progress import Progress
from hyperflow.runner import Listener, Live, Request
from hyperflow.volume import paths

RUN = "watched"
QUIET = Listener(lambda stage: None, lambda progress: None)

Answer = tuple[int, str, http.client.HTTPMessage]


def ask(address: str, path: str = "/", method: str = "GET", host: str = "") -> Answer:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


def news(address: str, pool: ThreadPoolExecutor) -> Future[Answer]:
    """Ask, as the page does, for what is newer than the page as it is now."""
    seen = ask(address, "/now")[2]["ETag"]
    asked = pool.submit(ask, address, f"/now?seen={seen}")
    time.sleep(0.1)
    assert not asked.done(), "there is no news yet"
    return asked


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    return Request(Path("build/train_and_serve.yaml"), run_id=RUN)


@pytest.fixture
def page(request_: Request) -> Iterator[tuple[Live, str]]:
    volume.write_text(paths.run_report(RUN), "<!doctype html><title>finished</title>the report")
    with runner.watched(request_) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as made:
        yield made


def test_trials_are_shown_while_they_run(page: tuple[Live, str]) -> None:
    spec, folder = translation.tune_spec(Parameters.complete({}), RUN, "/data"), paths.tuning(RUN)
    folder.mkdir(parents=True)
    study = studies.open_study(spec, folder)
    for number in range(3):
        trial = study.ask()
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-1)
        volume.write_text(
            log_of(folder, number), f"epoch=1 validation-accuracy={rate}\nepoch=2 validation-accuracy={rate}\n"
        )
        if number:
            trial.set_user_attr(studies.STATUS, "succeeded")
            study.tell(trial, 0.5 + number / 10)
    html = ask(page[1])[1]
    assert html.count(">succeeded<") == 2
    assert html.count(">running<") == 1
    assert html.count("<td>–</td>") == 1, "only how long the running one takes is not known yet"
    assert "Best <b>validation-accuracy 0.7</b>" in html
    assert html.count("<img src=") == 3, "history, the parameter, each trial over its epochs"


def test_stages_and_curves_are_shown_as_they_come(page: tuple[Live, str], pool: ThreadPoolExecutor) -> None:
    live, address = page
    listener = live.listener(QUIET)
    listener.stage("load_data")
    asked = news(address, pool)
    listener.stage("train")
    status, html, _ = asked.result()
    assert status == 200
    assert "<th>load_data</th>" in html
    assert "<th>train</th><td>running</td>" in html
    asked = news(address, pool)
    volume.write_text(paths.training(RUN) / "chief-0.log", "epoch=1 loss=0.5 validation-loss=0.6\n")
    listener.progress(Progress("train", 1, 3, "<b>loss=0.5"))
    html = asked.result()[1] + ask(address)[1]
    assert "&lt;b&gt;loss=0.5" in html
    assert "<b>loss" not in html


def test_curve_of_the_training_is_drawn(page: tuple[Live, str]) -> None:
    assert "<h2>Training</h2>" not in ask(page[1])[1]
    volume.write_text(paths.training(RUN) / "chief-0.log", "epoch=1 loss=0.5 validation-loss=0.6\n")
    deadline = time.monotonic() + 20
    while "<h2>Training</h2>" not in (html := ask(page[1])[1]):
        assert time.monotonic() < deadline
    assert "data:image/svg+xml" in html


def test_listener_of_the_terminal_is_told_too(page: tuple[Live, str]) -> None:
    heard: list[object] = []
    listener = page[0].listener(Listener(heard.append, heard.append))
    listener.stage("tune")
    listener.progress(Progress("tune", 1, 2, ""))
    assert heard == ["tune", Progress("tune", 1, 2, "")]


def test_report_takes_the_pages_place(request_: Request, pool: ThreadPoolExecutor) -> None:
    with runner.watched(request_) as (live, address):
        live.listener(QUIET).stage("predict")
        asked = news(address, pool)
        volume.write_text(paths.run_report(RUN), "<!doctype html><title>finished</title>")
    status, html, headers = asked.result()
    assert (status, html) == (200, "<!doctype html><title>finished</title>")
    assert headers["ETag"] is None, "which tells the page that this was the last"
    with pytest.raises(ConnectionRefusedError):
        ask(address)


def test_failure_is_told_before_the_page_ends(request_: Request, pool: ThreadPoolExecutor) -> None:
    asked: list[Future[Answer]] = []

    def fail() -> None:
        with runner.watched(request_) as (live, address):
            live.listener(QUIET).stage("tune")
            asked.append(news(address, pool))
            raise JobFailed("the search <failed>", "a cause", "a remedy")

    with pytest.raises(JobFailed):
        fail()
    html, headers = asked[0].result()[1:]
    assert "the search &lt;failed&gt;" in html
    assert "a remedy" in html
    assert headers["ETag"] is None


def test_run_whose_files_cannot_be_read_is_shown_without_them(page: tuple[Live, str]) -> None:
    volume.write_text(paths.study(RUN), "no database")
    page[0].listener(QUIET).stage("tune")
    status, html, _ = ask(page[1])
    assert status == 200
    assert "<th>tune</th>" in html


def test_page_that_cannot_be_made_is_told_in_the_log_and_hurts_nobody(
    page: tuple[Live, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise ValueError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr("hyperflow.report.live.page", fail)
        with pytest.raises(http.client.RemoteDisconnected):
            ask(page[1])
    assert "ValueError: a defect" in paths.run_log(RUN).read_text()
    assert ask(page[1])[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "[::1", "127.0.0.1.evil.example"])
def test_other_sites_are_refused(page: tuple[Live, str], host: str) -> None:
    status, text, _ = ask(page[1], host=host)
    assert status == 403
    assert RUN not in text


def test_nothing_is_loaded_from_elsewhere_and_nothing_can_be_changed(page: tuple[Live, str]) -> None:
    _, address = page
    _, html, headers = ask(address, host="localhost:1")  # through an SSH tunnel of another port
    assert "http" not in html.replace("image/svg+xml", "")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert ask(address, "/live.js")[2]["Content-Type"].startswith("text/javascript")
    assert ask(address, "/../log.txt")[0] == 404
    assert ask(address, method="HEAD")[:2] == (200, "")
    assert ask(address, method="POST")[0] == 501


def test_port_that_is_taken_is_said_before_the_run(request_: Request) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port}"), runner.watched(request_, port):
            pass


def test_only_this_machine_is_listened_to(page: tuple[Live, str]) -> None:
    port = page[1].rpartition(":")[2]
    with pytest.raises(ConnectionRefusedError):
        ask(f"http://127.0.0.2:{port}")
