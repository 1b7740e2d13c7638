"""A run on an MLflow server: once, whatever happens meanwhile."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from hyperflow import translation, volume
from hyperflow.engines.search import study as studies
from hyperflow.errors import Conflict, InvalidParameter, Unavailable
from hyperflow.parameters import Parameters
from hyperflow.specs import Trial
from hyperflow.tracking import Server, entries, sync
from hyperflow.tracking.record import PARENT
from hyperflow.volume import cards, paths, records
from hyperflow.volume.records import Decide, Train
from tests.tracking import volumes
from tests.tracking.mlflow import Held, Mlflow
from tests.tracking.volumes import RUN


def parent(mlflow: Mlflow) -> Held:
    (held,) = mlflow.of("hyperflow.run_id", RUN)
    return held


def trials(mlflow: Mlflow) -> dict[str, Held]:
    found = mlflow.of("hyperflow.trial")
    assert Counter(run.tags["hyperflow.trial"] for run in found) == Counter(trial.name for trial in volumes.TRIALS)
    assert {run.tags["mlflow.parentRunId"] for run in found} == {parent(mlflow).info["run_id"]}
    return {run.tags["hyperflow.trial"]: run for run in found}


def curve(held: Held, key: str) -> list[tuple[int, float]]:
    return [(step, value) for name, step, _, value in held.values if name == key]


def test_run_with_all_that_is_known_of_it(mlflow: Mlflow) -> None:
    model = volumes.write()
    made = sync(RUN, Server(mlflow.url))
    held = parent(mlflow)
    assert held.info["run_id"] == made
    assert held.info["experiment_id"] == mlflow.experiments[volumes.MODEL]
    assert (held.info["run_name"], held.info["status"]) == (RUN, "FINISHED")
    assert held.info["end_time"] > held.info["start_time"]
    assert held.parameters["epochs"] == "3"
    assert held.parameters["best/rate"] == "0.1"
    assert json.loads(held.parameters["search_space"]) == volumes.VALUES["search_space"]
    assert curve(held, "loss") == [(1, 0.8), (2, 0.6), (3, 0.4)]
    assert curve(held, "test-accuracy") == [(3, 0.8)]
    assert held.latest()["smoke/p99_ms"] == 4.0
    tags = {name.removeprefix("hyperflow."): value for name, value in held.tags.items()}
    assert (tags["decision"], tags["reason"]) == ("deployed", "0.8 is above the floor")
    assert tags["approval"] == "approved by ann on 1970-01-01 00:00:00 UTC (seen the misread ones)"
    assert (tags["model_path"], tags["data_digest"], tags["best_trial"]) == (model.path, "0e73", "tune-000")
    inputs = json.loads(json.loads(tags["model_signature"])["inputs"])
    assert inputs[0]["tensor-spec"]["shape"] == [-1, 784]
    files = {name.rpartition("/artifacts/")[2]: content for name, content in mlflow.artifacts.items()}
    assert files["report.html"] == b"<html>report</html>"
    assert json.loads(files["card.json"])["run_id"] == RUN
    assert json.loads(files["steps/train.json"])["curve"] == volumes.CURVE


def test_each_trial_is_nested_with_its_values_and_state(mlflow: Mlflow) -> None:
    volumes.write()
    sync(RUN, Server(mlflow.url))
    made = trials(mlflow)
    states = [made[trial.name].info["status"] for trial in volumes.TRIALS]
    assert states == ["FINISHED", "KILLED", "FAILED"]
    good, stopped, bad = (made[trial.name] for trial in volumes.TRIALS)
    assert good.parameters == {"rate": "0.1", "units": "64"}
    assert curve(good, "validation-accuracy") == [(1, 0.6), (2, 0.75), (3, 0.7)]
    assert good.latest()["objective"] == 0.75
    assert good.info["end_time"] - good.info["start_time"] == 2500
    assert curve(stopped, "validation-accuracy") == [(0, 0.5)]  # it has no log: the last value, at no epoch
    assert "objective" not in bad.latest()


def test_again_changes_nothing(mlflow: Mlflow) -> None:
    volumes.write()
    first = sync(RUN, Server(mlflow.url))
    before = {run_id: replace(held, values=dict(held.values)) for run_id, held in mlflow.runs.items()}
    mlflow.asked.clear()
    assert sync(RUN, Server(mlflow.url)) == first
    assert mlflow.runs == before
    assert not [path for path in mlflow.asked if "log-batch" in path or "create" in path or "update" in path]


def test_only_what_is_new_is_asked_about_and_sent(mlflow: Mlflow) -> None:
    model = volumes.write(until="decide", report=False)
    sync(RUN, Server(mlflow.url))
    mlflow.asked.clear()
    kept = records.read(RUN, Decide)
    assert kept
    records.write(RUN, replace(kept, seconds=9.0))
    cards.write(volumes.MODEL, cards.Card(RUN, "0e73", "c0de", model.parameters, 0.8, deploy=True))
    sync(RUN, Server(mlflow.url))
    sent = [path for path in mlflow.asked if path.startswith("PUT")]
    assert {path.rpartition("/")[2] for path in sent} == {"card.json", "decide.json"}
    assert [path for path in mlflow.asked if "create" in path or "update" in path] == []
    assert len([path for path in mlflow.asked if "get-history" in path]) == 1, "of the one that changed"


def test_changed_marks_cost_a_question_and_no_value_twice(mlflow: Mlflow) -> None:
    volumes.write()
    sync(RUN, Server(mlflow.url))
    held, before = parent(mlflow), dict(parent(mlflow).values)
    held.tags |= {"hyperflow.logged": "", "hyperflow.logged_values": "[not JSON", "hyperflow.logged_files": "3"}
    sync(RUN, Server(mlflow.url))
    assert held.values == before
    assert any("get-history" in path for path in mlflow.asked)


def test_trials_are_written_several_at_once(mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(Trial(f"tune-{n:03d}", "succeeded", {"rate": n}, 0.5) for n in range(24))
    monkeypatch.setattr(volumes, "TRIALS", many)
    volumes.write()
    mlflow.seconds = 0.05
    began = time.monotonic()
    sync(RUN, Server(mlflow.url))
    assert time.monotonic() - began < 0.5 * mlflow.seconds * len(mlflow.asked)
    assert sorted(trials(mlflow)) == sorted(trial.name for trial in many)


def test_attempt_that_failed_is_gone_on_with(mlflow: Mlflow) -> None:
    volumes.write(until="train", report=False)
    volumes.lock(volume.run_path(RUN))
    sync(RUN, Server(mlflow.url))
    assert parent(mlflow).info["status"] == "FAILED"
    volumes.write()
    kept = records.read(RUN, Train)
    assert kept
    records.write(RUN, replace(kept, curve={**volumes.CURVE, "loss": [0.8, 0.3, 0.2]}))
    sync(RUN, Server(mlflow.url))
    held = parent(mlflow)
    assert held.info["status"] == "FINISHED"
    assert held.tags["hyperflow.decision"] == "deployed"
    assert Server(mlflow.url).history(held.info["run_id"], "loss") == {1: 0.8, 2: 0.3, 3: 0.2}
    assert curve(held, "loss").count((1, 0.8)) == 1
    trials(mlflow)


def begin_trial() -> float:
    """Begin the search, or go on with it, and leave it with one trial running, as if killed; return its rate."""
    spec = translation.tune_spec(Parameters.complete({}), RUN, "/data")
    return studies.open_study(spec, paths.tuning(RUN)).ask().suggest_float("rate", 0.1, 0.2)


def test_trial_that_a_kill_cut_off_gives_way_to_the_one_that_runs_for_it(mlflow: Mlflow) -> None:
    volumes.write(until="plan", report=False)
    rate = begin_trial()
    sync(RUN, Server(mlflow.url))
    (held,) = mlflow.of("hyperflow.trial")
    assert held.tags["hyperflow.trial"].endswith("-000")
    assert begin_trial() == rate
    sync(RUN, Server(mlflow.url))
    (held,) = mlflow.of("hyperflow.trial")
    assert held.tags["hyperflow.trial"].endswith("-001")
    assert float(held.parameters["rate"]) == rate


def test_run_that_was_stopped(mlflow: Mlflow) -> None:
    volumes.write(until="tune", report=False)
    sync(RUN, Server(mlflow.url), state="KILLED")
    assert parent(mlflow).info["status"] == "KILLED"


def test_run_that_may_be_at_work_has_no_end(mlflow: Mlflow) -> None:
    volumes.write(until="tune", report=False)
    sync(RUN, Server(mlflow.url))
    assert parent(mlflow).info["status"] == "RUNNING"
    assert "end_time" not in parent(mlflow).info


def test_two_at_once_leave_one(mlflow: Mlflow) -> None:
    """A second one begins as the first is about to make the run: both look again, the earliest stays."""
    volumes.write()
    mlflow.before_create = lambda: sync(RUN, Server(mlflow.url))
    sync(RUN, Server(mlflow.url))
    assert len(mlflow.deleted) == 1
    parent(mlflow)
    sync(RUN, Server(mlflow.url))
    trials(mlflow)


def test_one_that_the_server_made_late_goes_with_the_next_writing(mlflow: Mlflow) -> None:
    """A slow server carries out what its sender had given up, after another one has made the run."""
    volumes.write()
    sync(RUN, Server(mlflow.url))
    before, (_, entry, _) = parent(mlflow).latest(), entries.of_run(RUN)
    Server(mlflow.url).create(parent(mlflow).info["experiment_id"], entry.name, entry.start, entry.tags)
    assert len(mlflow.of("hyperflow.run_id", RUN)) == 2
    sync(RUN, Server(mlflow.url))
    assert parent(mlflow).latest() == before
    trials(mlflow)


def test_more_runs_than_a_page_holds(mlflow: Mlflow) -> None:
    mlflow.page = 2
    volumes.write()
    sync(RUN, Server(mlflow.url))
    sync(RUN, Server(mlflow.url))
    trials(mlflow)


def test_parent_that_the_environment_names(mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(mlflow.url)
    experiment = server.experiment("pipelines")
    server.create(experiment, "a pipeline's run", 1, {"kfp": "1"})
    (theirs,) = mlflow.of("kfp")
    monkeypatch.setenv(PARENT, theirs.info["run_id"])
    volumes.write()
    assert sync(RUN, server) == theirs.info["run_id"]
    assert parent(mlflow) is theirs
    assert theirs.info["status"] == "RUNNING", "its end is its owner's to tell"
    assert {run.info["experiment_id"] for run in trials(mlflow).values()} == {experiment}
    volumes.write("another")
    with pytest.raises(Conflict, match="it holds run " + RUN):
        sync("another", server)


def test_run_that_is_not_there(mlflow: Mlflow, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nothing is known of run gone"):
        sync("gone", Server(mlflow.url))
    with pytest.raises(InvalidParameter):
        sync("../up", Server(mlflow.url))
    assert not mlflow.asked


def test_server_that_is_none_of_mlflow(mlflow: Mlflow) -> None:
    volumes.write()
    mlflow.experiments[volumes.MODEL] = "1"
    mlflow.instead = '{"hello": "world"}'
    with pytest.raises(Unavailable, match="does not answer as an MLflow server does"):
        sync(RUN, Server(mlflow.url))


def test_server_that_hands_no_artifacts_on(mlflow: Mlflow) -> None:
    mlflow.proxied = False
    volumes.write()
    with pytest.raises(Unavailable, match="--serve-artifacts"):
        sync(RUN, Server(mlflow.url))
    trials(mlflow)


@pytest.mark.parametrize("at", ["runs/create", "runs/log-batch", "runs/search", "runs/update", "mlflow-artifacts"])
def test_failure_at_any_point_is_mended(mlflow: Mlflow, at: str) -> None:
    volumes.write()
    mlflow.failing = at
    with pytest.raises(Unavailable, match="the database is locked"):
        sync(RUN, Server(mlflow.url))
    mlflow.failing = ""
    sync(RUN, Server(mlflow.url))
    assert parent(mlflow).info["status"] == "FINISHED"
    assert curve(parent(mlflow), "loss") == [(1, 0.8), (2, 0.6), (3, 0.4)]
    trials(mlflow)
