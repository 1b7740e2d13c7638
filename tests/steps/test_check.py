"""The step that refuses before anything is made."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperflow import volume
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
