"""What a failed deployment leaves: the model before it serving, or a mark and something to look at."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hyperflow.engines.local.servers import Server
from hyperflow.engines.local.services import KEEP
from hyperflow.errors import JobFailed
from hyperflow.steps import Step, decide
from tests.engines.local.machine import NAME, PARAMETERS, Machine


def kill(server: Server | None) -> None:
    assert server is not None
    os.kill(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while server.alive:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def serve(machine: Machine, number: int) -> str:
    machine.save(number)
    machine.stage(number)
    return machine.services.promote(NAME).url


def test_first_model_that_cannot_be_loaded_leaves_its_log_and_a_mark(machine: Machine) -> None:
    machine.save(1, broken=True)
    with pytest.raises(JobFailed, match="which is marked as failed") as failed:
        machine.stage(1)
    service = machine.services.read(NAME)
    assert service.failed is not None
    assert "ended before it was ready" in service.failed.reason
    assert service.failed.model == machine.model(1)
    assert service.failed.log in failed.value.why
    assert "remedy:" in Path(service.failed.log).read_text()
    assert service.servers == []
    assert machine.engine.serving(NAME) is None
    with pytest.raises(JobFailed, match="ended before it was ready"):
        machine.services.promote(NAME)


def test_first_model_that_does_not_pass_stays_to_be_looked_at(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.save(1, misreads=True)
    with pytest.raises(SystemExit):
        machine.predict(1, machine.deploy(1))
    message = capfd.readouterr().err
    failed = machine.services.read(NAME).failed
    assert failed is not None
    assert failed.server is not None
    assert "reads too few images right" in message
    assert "nothing could be put back" in message
    for word in (failed.server.url, failed.log, "marked as failed"):
        assert word in message
    assert machine.ask(failed.server.url) == 1
    assert machine.engine.serving(NAME) is None
    assert machine.services.stop(NAME)
    left = machine.services.read(NAME).failed
    assert left is not None
    assert (left.reason, left.server) == (failed.reason, None)


def test_next_run_neither_compares_with_what_failed_nor_goes_back_to_it(machine: Machine) -> None:
    machine.save(1, misreads=True)
    with pytest.raises(SystemExit):
        machine.predict(1, machine.deploy(1))
    failed = machine.services.read(NAME).servers[0]
    candidate = machine.save(2)
    decision, _ = decide.run(Step("decide", "run-2"), PARAMETERS, candidate, machine.dataset.path)
    assert decision.deploy
    assert "none is served" in decision.reason
    url = machine.predict(2, machine.deploy(2))
    service = machine.services.read(NAME)
    assert (service.failed, service.previous) == (None, None)
    assert not failed.alive
    assert machine.ask(url) == 2


def test_server_of_a_failed_first_deployment_ends_with_its_run_unless_asked_to_stay(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEEP)
    machine.save(1)
    machine.stage(1)
    with pytest.raises(JobFailed) as failed:
        machine.services.restore(NAME)
    assert f"hyperflow serve {machine.model(1).path}" in failed.value.remedy
    assert machine.services.stop(NAME, "run-1")
    assert machine.services.read(NAME).servers == []


def test_promoted_model_that_is_taken_back_with_none_before_it_is_marked_and_its_port_is_ours(
    machine: Machine,
) -> None:
    url = serve(machine, 1)
    with pytest.raises(JobFailed, match="cannot go back"):
        machine.services.restore(NAME)
    assert machine.engine.serving(NAME) is None
    assert machine.ask(url) == 1
    machine.save(2)
    port = urlsplit(url).port or 0
    machine.stage(2, port)
    promoted = machine.services.promote(NAME)
    assert (promoted.url, promoted.previous) == (url, None)
    assert machine.ask(url) == 2


def test_candidate_that_dies_in_its_test_is_what_is_taken_back(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not the model before it, for the one before that."""
    url = serve(machine, 1)
    assert serve(machine, 2) == url
    machine.save(3)
    staged = machine.deploy(3)
    kill(machine.services.read(NAME).candidate)
    with pytest.raises(SystemExit):
        machine.predict(3, staged)
    message = capfd.readouterr().err
    assert "gives no answer" in message
    assert f"the previous model ({machine.model(2).path}) is served again" in message
    assert machine.ask(url) == 2


def test_candidate_that_dies_before_it_has_the_port_is_not_promoted(machine: Machine) -> None:
    url = serve(machine, 1)
    machine.save(2)
    machine.stage(2)
    kill(machine.services.read(NAME).candidate)
    with pytest.raises(JobFailed, match=r"has ended before .*; the previous model .* still served"):
        machine.services.promote(NAME)
    assert machine.services.promote(NAME).model == machine.model(1)
    assert machine.ask(url) == 1


def test_served_model_that_dies_during_a_failed_rollout_is_brought_back(machine: Machine) -> None:
    url = serve(machine, 1)
    machine.save(2)
    machine.stage(2)
    kill(machine.services.read(NAME).current)
    back = machine.services.restore(NAME)
    assert (back.url, back.model) == (url, machine.model(1))
    assert machine.ask(url) == 1
    assert len(machine.services.read(NAME).servers) == 1


def test_what_was_taken_back_is_never_gone_back_to(machine: Machine) -> None:
    url = serve(machine, 1)
    serve(machine, 2)
    back = machine.services.restore(NAME)
    assert (back.url, back.model, back.previous) == (url, machine.model(1), None)
    assert machine.engine.serving(NAME) == back
    assert machine.ask(url) == 1


def test_server_takes_its_folder_with_it(machine: Machine) -> None:
    serve(machine, 1)
    folder = Path(machine.services.read(NAME).servers[0].control).parent
    assert folder.is_dir()
    machine.services.stop(NAME)
    assert not folder.exists()
