"""A run keeps what it was asked for: whoever goes on with it need not repeat it, and cannot change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hyperflow import runner, volume
from hyperflow.cli import find_pipeline
from hyperflow.errors import InvalidParameter
from hyperflow.runner import asked
from tests.runner.laptop import Laptop, wait_for

TRAIN, RETRAIN = find_pipeline("train_and_serve"), find_pipeline("retrain")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path / "a volume"))


def request(*values: str, pipeline: Path = TRAIN, **more: Any) -> runner.Request:
    return runner.Request(pipeline, runner.read_values(pipeline, values), "one", **more)


def test_values_and_defaults_are_taken_up() -> None:
    asked.keep(request("epochs=3", 'search_space={"x": {"type": "int", "min": 1, "max": 2}}'))
    values = asked.take_up(request()).values
    assert (values["epochs"], values["max_trials"], values["dataset"]) == (3, 6, "fashion-mnist")
    assert values["search_space"] == {"x": {"type": "int", "min": 1, "max": 2}}
    assert type(values["max_trials"]) is int
    assert runner.pipeline_of("one") == TRAIN.absolute()


def test_same_values_may_be_given_again_and_others_are_refused_by_name() -> None:
    asked.keep(request("epochs=3", 'trainer_command=["python", "mine.py"]'))
    again = asked.take_up(request("epochs=3", "max_trials=6", 'trainer_command=["python", "mine.py"]'))
    assert again.values["epochs"] == 3
    with pytest.raises(InvalidParameter, match="'epochs' cannot be 4") as refused:
        asked.take_up(request("epochs=4"))
    assert "3, which run one was started with" in refused.value.remedy
    with pytest.raises(InvalidParameter, match=r"'--pipeline' cannot be 'retrain.yaml'"):
        asked.take_up(request(pipeline=RETRAIN))


def test_later_attempt_keeps_what_the_first_was_asked_for() -> None:
    asked.keep(request("epochs=3"))
    asked.keep(request())
    assert asked.take_up(request()).values["epochs"] == 3


def test_unknown_run_is_started_as_it_is_asked_for() -> None:
    assert asked.take_up(request("epochs=3")) == request("epochs=3")
    assert runner.pipeline_of("one") is None


def test_command_to_go_on_is_whole_and_quoted(tmp_path: Path) -> None:
    command = request("epochs=3", keep_serving=True, port=8080).command
    assert command == f"hyperflow run --run-id one --folder '{tmp_path / 'a volume'}' --keep-serving --port 8080"


def test_run_stopped_in_its_first_seconds_goes_on_with_its_parameters(laptop: Laptop) -> None:
    first = laptop.start("run", "--run-id", "early", values=["max_trials=1", "epochs=1"])
    wait_for((laptop.volume / "runs" / "early" / "steps" / "asked.json").exists)
    first.terminate()
    output, _ = first.communicate(timeout=40)
    assert f"remedy: to go on: hyperflow run --run-id early --folder {laptop.volume}" in output
    code, output = laptop.again("run", "--run-id", "early")
    assert code == 0, output
    assert "small: " in output
    assert "[tune 1/1]" in output
    assert "[train 1/1]" in output
    code, output = laptop.again("run", "--run-id", "early", "--set", "epochs=2")
    assert "has ended already; nothing was changed" in output
