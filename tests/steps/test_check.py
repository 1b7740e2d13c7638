"""The step that refuses before anything is made."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperflow import volume
from hyperflow.engines.local import surroundings
from hyperflow.parameters import Parameters
from hyperflow.steps import begin, check


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work on this machine; a step sets a handler for SIGTERM, as it has a process of its own."""
    monkeypatch.setenv("HYPERFLOW_ENGINE", "local")
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(
    "given",
    [
        {"trial_workers": 2},
        {"parameter_servers": 1},
        {"evaluator": True},
        {"serving_runtime": "tensorflow"},
        {"min_replicas": 2, "max_replicas": 2},
        {"canary_percent": 10},
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_the_engine_has_not_got_is_called_what_the_user_calls_it(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, begin("check", "run-1") as step:
        check.run(step, Parameters.complete(given))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"parameter '{next(iter(given))}' cannot be" in said
    assert "the local engine has nothing else" in said
    assert list(tmp_path.iterdir()) == []


DESCRIBED = """
import sys
# knows --describe
if "--describe" in sys.argv:
    units = '{"type": "integer", "minimum": 1}'
    arguments = '"properties": {"units": %s, "epochs": %s}, "additionalProperties": false' % (units, units)
    print('{%s, "metrics": ["f1"], "checkpoints": false}' % arguments)
else:
    open("started", "w").close()
"""


SAYS_LITTLE = """
import sys
if "--describe" in sys.argv:
    print('{"properties": {}}')
"""


def said_of(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended, begin("check", "run-1") as step:
        check.run(step, Parameters.complete(given))
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("trainer_arguments[modle]", {"trainer_arguments": {"modle": "cnn"}}, "arguments that the trainer has"),
        ("trainer_arguments[model]", {"trainer_arguments": {"model": "resnet"}}, "cnn-large or mlp"),
        ("trial_arguments[train_fraction]", {"trial_arguments": {"train_fraction": 0}}, "above 0, up to 1"),
        ("best_parameters[learning_rate]", {"best_parameters": {"learning_rate": 1e6}}, "above 0, up to 100"),
        (
            "search_space[learning_rate]",
            {"search_space": {"learning_rate": {"type": "double", "min": 0.1, "max": 1e6}}}, "up to 100",
        ),
        ("search_space[rate]", {"search_space": {"rate": {"type": "double", "min": 0, "max": 1}}}, "learning_rate"),
        (
            "search_space[model]", {"search_space": {"model": {"type": "categorical", "values": ["mlp", "vit"]}}},
            "cnn-large or mlp",
        ),
        ("objective_metric", {"objective_metric": "f1"}, "a metric that the trainer prints"),
        ("epochs", {"epochs": 10_001}, "from 0 up to 10000"),
        ("trial_epochs", {"trial_epochs": 10**9}, "from 1 to 10000"),
        ("trainer_command", {"trainer_command": ["no-such-program"]}, "'no-such-program' was not found"),
        ("trainer_command", {"trainer_command": ["python", "no_such.py"]}, "'no_such.py' was not found"),
        ("parallel_trials", {"parallel_trials": 1000, "max_trials": 1000}, "on this machine"),
        ("workers", {"workers": 100}, "on this machine"),
    ],
)  # fmt: skip
def test_what_could_not_be_carried_through_is_refused_by_its_name(
    name: str, given: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_of(given, capsys)
    assert f"parameter '{name}' cannot be" in said
    assert words in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(any(Path(each).exists() for each in surroundings._GPUS), reason="there is a GPU here")
def test_gpus_are_refused_where_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'gpus' cannot be 1" in said_of({"gpus": 1, "trainer_image": "registry.example/own:1"}, capsys)


EPOCHS = {"epochs": {"type": "int", "min": 1, "max": 2}}
BY_EPOCHS: dict[str, Any] = {
    "algorithm": "hyperband", "algorithm_settings": {"r_l": 2, "eta": 2, "resource_name": "epochs"},
    "search_space": {**EPOCHS, "dropout_rate": {"type": "double", "min": 0, "max": 0.5}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("trainer_arguments[unit]", {"trainer_arguments": {"unit": 1}}),
        ("search_space[units]", {"search_space": {"units": {"type": "int", "min": 0, "max": 4}}}),
        ("objective_metric", {"objective_metric": "f2"}),
        ("algorithm", {**BY_EPOCHS, "search_space": {**EPOCHS, "units": {"type": "int", "min": 1, "max": 4}}}),
    ],
)
def test_own_trainer_that_describes_itself_is_believed(
    name: str,
    given: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = own_trainer(tmp_path, monkeypatch, DESCRIBED)
    assert f"parameter '{name}' cannot be" in said_of(own | given, capsys)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("source", "given", "told"),
    [
        ("pass", {}, True),
        ("pass", {"tuner": "katib"}, False),
        ("pass", {"algorithm": "random", "algorithm_settings": {}}, False),
        (SAYS_LITTLE, {}, True),
        (SAYS_LITTLE.replace("{}}", '{}, "checkpoints": true}'), {}, False),
        ("", {}, False),
    ],
    ids=["silent", "Katib", "no rungs", "describes itself without", "says that it goes on", "ours"],
)
def test_a_trainer_that_may_train_anew_is_told_in_a_line(
    source: str, given: dict[str, Any], told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    own = own_trainer(tmp_path, monkeypatch, source) if source else {}
    with begin("check", "run-1") as step:
        check.run(step, Parameters.complete(own | BY_EPOCHS | given))
    assert ("such a trial trains anew" in capsys.readouterr().out) is told


def test_a_trainer_without_checkpoints_is_not_refused_where_every_trial_trains_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_trainer(tmp_path, monkeypatch, DESCRIBED)
    space = {**EPOCHS, "units": {"type": "int", "min": 1, "max": 4}}
    with begin("check", "run-1") as step:
        check.run(step, Parameters.complete(own | BY_EPOCHS | {"search_space": space, "tuner": "katib"}))


def test_own_trainer_that_does_not_know_the_word_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_trainer(tmp_path, monkeypatch, DESCRIBED.replace("--describe", "--other"))
    with begin("check", "run-1") as step:
        check.run(step, Parameters.complete(own | {"objective_metric": "f2"}))
    assert not (tmp_path / "started").exists()


def own_trainer(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    (folder / "own.py").write_text(source)
    return {
        "trainer_command": [sys.executable, "own.py"], "trainer_arguments": {}, "trial_arguments": {},
        "search_space": {"units": {"type": "int", "min": 1, "max": 4}}, "objective_metric": "f1",
    }  # fmt: skip
