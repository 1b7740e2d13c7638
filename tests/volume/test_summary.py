"""A run's summary: what is written is read again, and what is no summary is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyperflow.volume import ENVIRONMENT, paths, summary
from hyperflow.volume.summary import Decision, Smoke, Summary

MADE = Summary(
    run_id="one", decision=Decision("deployed", True, "it is better"), best_parameters={"rate": 0.1, "kind": "a"},
    validation_accuracy=0.91, test_accuracy=0.9, model_path="/models/m/one", endpoint="http://localhost:1",
    smoke=Smoke(0.9, 200, 1.5, 2.5), report="/runs/one/report.html", seconds={"tune": 1.5}, total_seconds=2.0,
    warnings=("no tracking",), about={"machine": "a small one", "parameters": {"epochs": "3"}},
)  # fmt: skip


@pytest.fixture(autouse=True)
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))


def test_what_is_written_is_read() -> None:
    summary.write(MADE)
    assert summary.read("one") == MADE


def test_an_older_one_without_what_came_later_is_read() -> None:
    summary.write(MADE)
    kept = json.loads(paths.run_summary("one").read_text())
    del kept["smoke"]["first_ms"], kept["decision"]["approval"], kept["warnings"]
    paths.run_summary("one").write_text(json.dumps({**kept, "unknown": 1}))
    assert summary.read("one") == Summary(**{**vars(MADE), "warnings": ()})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run_id": "one"}', '{"decision": {"outcome": "won"}}'])
def test_what_is_no_summary_is_none(content: str) -> None:
    assert summary.read("one") is None
    paths.run_path("one").mkdir(parents=True)
    paths.run_summary("one").write_text(content)
    assert summary.read("one") is None
