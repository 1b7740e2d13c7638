"""Deploying late, or while another run has its turn: refused before anything is changed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import psutil
import pytest

from hyperflow import volume
from hyperflow.engines.local import LocalEngine
from hyperflow.errors import Conflict
from hyperflow.parameters import Parameters
from hyperflow.specs import ModelRef, Rule
from hyperflow.steps import Step, decide, deploy
from hyperflow.volume import lease, records

MINE = ModelRef("/models/mine", "mine", 0.9)
LATE = Step("deploy", "mine")


@pytest.fixture(autouse=True)
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that this very process is written down as the server of, serving the model of run `other`."""
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    monkeypatch.setenv("HYPERFLOW_ENGINE", "local")
    started = psutil.Process(os.getpid()).create_time()
    server = {
        "pid": os.getpid(), "started": started, "port": 9, "control": "", "log": "", "run_id": "other", "kept": True,
        "model": {"path": "/models/other", "run_id": "other"},
    }  # fmt: skip
    record = {"name": "m", "port": 9, "current": server, "candidate": None, "previous": None}
    volume.write_text(tmp_path / "services" / "m.json", json.dumps(record))
    serving = LocalEngine().serving("m")
    assert serving is not None
    assert serving.model.run_id == "other"


def decided(against: str | None) -> None:
    serving = ModelRef("/models/earlier", against) if against else None
    record = records.Decide(
        deploy=True, reason="", forced=False, candidate=MINE, serving=serving, comparison=None, rule=Rule(0.5)
    )
    records.write("mine", record)


@pytest.mark.parametrize(("against", "says"), [("earlier", "run earlier"), (None, "with nothing")])
def test_late_deploy_over_a_newer_model_is_refused(against: str | None, says: str) -> None:
    decided(against)
    with pytest.raises(Conflict, match="run other has gone live as m since this run's decision") as refused:
        deploy.run(LATE, Parameters.complete({"model_name": "m"}), MINE)
    assert says in refused.value.why
    lease.hold("m", "another", 60)  # the refused run has given the service back


def test_deploy_in_another_runs_turn_is_refused() -> None:
    decided("other")
    lease.hold("m", "another", 60)
    with pytest.raises(Conflict, match="run another is deploying m"):
        deploy.run(LATE, Parameters.complete({"model_name": "m"}), MINE)
    with pytest.raises(Conflict, match="run another is deploying m"):
        lease.hold("m", "third", 60)


def test_decision_in_another_runs_turn_is_refused_at_once_or_waits_as_it_was_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lease.hold("m", "another", 60)
    for seconds in (0, 1):
        begun = time.monotonic()
        asked = Parameters.complete({"model_name": "m", "turn_timeout": seconds})
        with pytest.raises(Conflict, match="run another is deploying m"):
            decide.run(LATE, asked, MINE, "/none")
        assert time.monotonic() - begun >= seconds
        assert ("waiting for run another" in capsys.readouterr().out) == (seconds > 0)
