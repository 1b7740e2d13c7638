"""A recurring run looks at what a real predictor has logged of real pictures, and decides by it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperflow import client, volume
from hyperflow.errors import Unavailable
from hyperflow.evaluation import compare, logged, smoke
from hyperflow.parameters import Parameters
from hyperflow.specs import Endpoint, ServeSpec
from hyperflow.steps import Step, deploy, plan
from hyperflow.volume import paths, records
from tests.engines.local.machine import NAME, Machine, machine, warm

__all__ = ["machine", "warm"]

LOG: dict[str, Any] = {"model_name": NAME, "log_payloads": "kept/payloads", "deploy_timeout": 60}


def _serve(machine: Machine) -> Endpoint:
    """Serve a model that reads most images right, without TensorFlow, and have it log."""
    model = replace(machine.save(0), parameters={"learning_rate": 0.002})
    deploy.run(Step("deploy", "run-0"), Parameters.complete(LOG), model)
    return machine.services.promote(NAME)


def _plan(machine: Machine, **asked: Any) -> records.Plan:
    """Plan as the step does, of what the run was asked for; return what it has kept."""
    step, page = Step("plan", "night"), volume.root() / "page.html"
    records.write("night", records.Asked(values=dict(vars(Parameters.complete({**LOG, **asked})))))
    made, metrics = plan.run(step, step.asked(), machine.dataset.path, str(page))
    kept = step.record
    assert isinstance(kept, records.Plan)
    assert (kept.action, kept.metrics) == (made.action, metrics)
    records.write("night", kept)
    assert records.read("night", records.Plan) == kept
    assert ("Drift of inputs" in page.read_text()) == bool(kept.inputs_note)
    return kept


def _ask(endpoint: Endpoint, images: Any, already: int) -> None:
    """Ask as a user, and wait until all of it is logged."""
    for start in range(0, len(images), 50):
        client.probabilities(endpoint, images[start : start + 50])
    deadline = time.monotonic() + 20
    while len(logged.newest(paths.root() / "kept" / "payloads", 784, 9999)) < already + len(images):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_changed_pictures_have_it_search_anew(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint, (images, labels) = _serve(machine), (machine.dataset.images("test"), machine.dataset.labels("test"))
    smoke.run(endpoint, images[:20], labels[:20])
    compare.ask(endpoint, images, "plan")
    _ask(endpoint, images[:50], 0)  # of all that was asked, this alone was a user's
    few = _plan(machine, retune_input_drift=0.25)
    assert (few.action, few.inputs) == ("train", None)
    assert "nothing is known: 50 pictures are too few" in few.inputs_note

    _ask(endpoint, images[50:400], 50)
    same = _plan(machine, retune_input_drift=0.25)
    assert same.action == "train"
    assert same.inputs is not None
    assert (same.inputs.inputs, same.inputs.statistic < 0.2) == (400, True)

    _ask(endpoint, 255 - images[:400], 400)
    changed = _plan(machine, retune_input_drift=0.25)
    assert changed.inputs is not None
    assert changed.inputs.statistic > 0.4
    assert changed.inputs.mean_shift > 30
    assert changed.action == "tune"
    told = f"their statistic is {changed.inputs.statistic:.3f}; retune_input_drift is 0.25"
    assert told in changed.reason
    assert changed.metrics["input-drift"] == changed.inputs.statistic
    assert "above retune_input_drift (0.25)" in (volume.root() / "page.html").read_text()
    assert f"drift of inputs: 800 pictures: statistic {changed.inputs.statistic:.3f}" in capsys.readouterr().out
    assert _plan(machine).action == "train"  # by default it is measured, and decides nothing


def test_what_cannot_be_read_is_said_and_is_no_drift(machine: Machine, tmp_path: Path) -> None:
    said = {
        "": "",
        "https://broker.example.org/events": "payloads go to https://broker.example.org/events, and only a folder",
        "elsewhere": "elsewhere cannot be read: No such file or directory",
        "broken": "payloads-1.jsonl cannot be read: Is a directory",
        "damaged": "0 pictures are too few",
    }
    (tmp_path / "broken" / "payloads-1.jsonl").mkdir(parents=True)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "payloads-1.jsonl").write_bytes(b"\xff\x00\n[[[\n" + json.dumps({"type": []}).encode())
    assert "no model is served" in _plan(machine, retune_input_drift=0.01).inputs_note
    _serve(machine)
    for place, words in said.items():
        kept = _plan(machine, log_payloads=place, retune_input_drift=0.01)
        assert (kept.action, kept.inputs) == ("train", None), place
        assert words in kept.inputs_note
        assert bool(kept.inputs_note) == bool(place)


def test_a_model_put_back_goes_on_logging(machine: Machine) -> None:
    _serve(machine)
    machine.services.stage(ServeSpec("run-2", NAME, machine.save(2), log_payloads=LOG["log_payloads"], timeout=60))
    machine.services.promote(NAME)
    endpoint = machine.services.restore(NAME)
    assert endpoint.model.run_id == "run-0"
    _ask(endpoint, np.zeros((5, 28, 28), np.uint8), 0)


def test_a_run_of_which_nothing_is_known_ends_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    with pytest.raises(Unavailable, match="what run night was asked for is not on the volume"):
        Step("plan", "night").asked()
