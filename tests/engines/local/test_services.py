"""Which port a service has: the one asked for last, from the moment the model asked for with it has it."""

from __future__ import annotations

import urllib.error
from urllib.parse import urlsplit

import pytest

from hyperflow.engines.local.processes import free_port
from tests.engines.local.machine import NAME, Machine


def serve(machine: Machine, number: int, port: int = 0) -> str:
    machine.save(number)
    machine.stage(number, port)
    return machine.services.promote(NAME).url


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


def test_given_port_wins_over_that_of_a_service_that_has_ended(machine: Machine) -> None:
    serve(machine, 1)
    machine.services.stop(NAME)
    wanted = free_port()
    url = serve(machine, 2, wanted)
    assert port_of(url) == wanted
    assert machine.ask(url) == 2


@pytest.mark.parametrize("number", [1, 2])
def test_running_service_moves_to_the_port_given_whatever_the_model(machine: Machine, number: int) -> None:
    before = serve(machine, 1)
    wanted = free_port()
    machine.save(number)
    machine.stage(number, wanted)
    assert machine.ask(before) == 1, "as long as the new one is not promoted, nothing changes"
    assert port_of(machine.services.read(NAME).endpoint(machine.services.read(NAME).servers[-1]).url) == port_of(before)
    url = machine.services.promote(NAME).url
    assert port_of(url) == wanted
    assert machine.ask(url) == number
    with pytest.raises(urllib.error.URLError):
        machine.ask(before)


def test_no_port_given_keeps_the_one_that_users_know(machine: Machine) -> None:
    before = serve(machine, 1, free_port())
    assert serve(machine, 2) == before


def test_model_that_is_taken_back_leaves_the_port_as_it_was(machine: Machine) -> None:
    before = serve(machine, 1)
    machine.save(2)
    machine.stage(2, free_port())
    assert machine.services.restore(NAME).url == before
    assert serve(machine, 3) == before
