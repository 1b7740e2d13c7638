"""Ten rollouts under load, two of them bad: the pipeline's own steps, real model servers, real HTTP."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest

from tests.engines.local.machine import NAME, PATH, Machine
from tests.engines.local.traffic import Request, Traffic

ROLLOUTS = range(1, 11)
BROKEN, MISREADING = 4, 8
Span = tuple[float, float]


@pytest.mark.long
def test_ten_rollouts_under_load_two_of_them_bad(
    machine: Machine, warm: psutil.Process, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in (0, *ROLLOUTS):
        machine.save(number, misreads=number == MISREADING, broken=number == BROKEN)
    assert min(np.abs(machine.answers[a] - machine.answers[b]).max() for a in machine.answers for b in range(a)) > 1e-3
    url = machine.predict(0, machine.deploy(0))
    good, live = 0, {0: (0.0, float("inf"))}
    with Traffic(urlsplit(url).port or 0, PATH, machine.body) as traffic:
        for number in ROLLOUTS:
            traffic.wait_for(50)
            if number in (BROKEN, MISREADING):
                message = fails(machine, number, capfd)
                assert f"the previous model ({machine.model(good).path}) is" in message
                assert url in message
            else:
                live[number] = rolled_out(machine, number, good, url)
                live[good] = (live[good][0], time.monotonic())
                good = number
            assert [server.model for server in machine.services.read(NAME).servers] == [machine.model(good)]
            assert machine.ask(url) == good
        traffic.wait_for(50)
    assert_nothing_was_lost(machine, traffic.requests, live)
    assert_nothing_runs_but(machine, warm, good)
    requests = traffic.requests
    rate = len(requests) / (requests[-1].ended - requests[0].began)
    with capfd.disabled():
        print(f"\n10 rollouts: {len(requests)} requests, {rate:.0f}/s, none failed, p99 {traffic.p99_ms:.1f} ms")


def rolled_out(machine: Machine, number: int, before: int, url: str) -> Span:
    """Deploy and test a good model; return from when on it may answer the service's users."""
    staged = machine.deploy(number)
    assert machine.ask(staged) == number
    assert machine.ask(url) == before
    began = time.monotonic()
    assert machine.predict(number, staged) == url
    return began, float("inf")


def fails(machine: Machine, number: int, capfd: pytest.CaptureFixture[str]) -> str:
    """Deploy and test a bad model; return what the step that fails says."""
    capfd.readouterr()
    if number == BROKEN:
        with pytest.raises(SystemExit) as end:
            machine.deploy(number)
        words = f"the model server for {machine.model(number).path} ended before it was ready"
    else:
        staged = machine.deploy(number)
        assert machine.ask(staged) == number
        with pytest.raises(SystemExit) as end:
            machine.predict(number, staged)
        words = "the deployed model reads too few images right"
    message = capfd.readouterr().err
    assert end.value.code == 1
    assert words in message
    return message


def assert_nothing_was_lost(machine: Machine, requests: list[Request], live: dict[int, Span]) -> None:
    assert [request.failure for request in requests if request.failure] == []
    for request in requests:
        number = machine.told(request.answer)
        assert number in live, "a model answered that was never promoted"
        since, until = live[number]
        assert since <= request.ended, f"model {number} answered before its turn"
        assert request.began <= until, f"model {number} answered after its turn"
    assert {machine.told(request.answer) for request in requests} == live.keys()


def assert_nothing_runs_but(machine: Machine, warm: psutil.Process, good: int) -> None:
    (server,) = machine.services.read(NAME).servers
    assert server.model == machine.model(good)
    deadline = time.monotonic() + 5  # the launcher has to collect those that ended
    while (left := {child.pid for child in warm.children()}) != {server.pid}:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_kept_server_of_an_onnx_copy_carries_no_tensorflow(machine: Machine, warm: psutil.Process) -> None:
    for number, wanted in ((0, False), (1, True)):
        machine.save(number)
        machine.stage(number)
        candidate = machine.services.read(NAME).candidate
        assert candidate
        process = psutil.Process(candidate.pid)
        assert process.ppid() == warm.pid
        assert any("tensorflow" in mapped.path for mapped in process.memory_maps()) is wanted
