"""Whole runs on a real MLflow server, compared with the volume through the server's own API."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperflow import metrics
from tests.runner.laptop import Laptop, laptop, wait_for
from tests.tracking.mlflow import serving
from tests.tracking.real import Real, running
from tests.tracking.registry import ModelRegistry

__all__ = ["laptop"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

STATES = {"succeeded": "FINISHED", "failed": "FAILED", "early-stopped": "KILLED"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    with running(tmp_path_factory.mktemp("mlflow")) as made:
        yield made


def record(laptop: Laptop, run_id: str, stage: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((laptop.volume / "runs" / run_id / "steps" / f"{stage}.json").read_text())
    return made


def assert_same(laptop: Laptop, run_id: str, server: Real, experiment: str) -> None:
    """The server has what the volume has: one run, each trial once, each value once."""
    runs = server.runs(experiment)
    (parent,) = [run for run in runs if run["tags"].get("hyperflow.run_id") == run_id]
    nested = [run for run in runs if run["tags"].get("mlflow.parentRunId") == parent["info"]["run_id"]]
    assert len(runs) == 1 + len(nested)
    _assert_parent(laptop, run_id, server, parent)
    trials = {trial["name"]: trial for trial in record(laptop, run_id, "tune")["trials"]}
    assert Counter(run["tags"]["hyperflow.trial"] for run in nested) == Counter(trials.keys())
    for run in nested:
        _assert_trial(laptop, run_id, server, run, trials[run["tags"]["hyperflow.trial"]])


def _assert_parent(laptop: Laptop, run_id: str, server: Real, parent: dict[str, Any]) -> None:
    train = record(laptop, run_id, "train")
    assert parent["info"]["status"] == "FINISHED"
    epochs = len(train["curve"]["epoch"])
    for name, values in train["curve"].items():
        assert server.history(parent, name) == [*enumerate(values, epochs - len(values) + 1)], name
    assert parent["metrics"]["test_accuracy"] == train["model"]["accuracy"]
    assert parent["tags"]["hyperflow.model_path"] == train["model"]["path"]
    assert parent["tags"]["hyperflow.data_digest"] == record(laptop, run_id, "load_data")["dataset"]["digest"]
    assert parent["tags"]["hyperflow.reason"] == record(laptop, run_id, "decide")["reason"]
    folder = laptop.volume / "runs" / run_id
    assert server.artifact(parent, "report.html") == (folder / "report.html").read_bytes()
    assert server.artifact(parent, "card.json") == (Path(train["model"]["path"]) / "card.json").read_bytes()
    assert server.artifact(parent, "steps/tune.json") == (folder / "steps" / "tune.json").read_bytes()


def _assert_trial(laptop: Laptop, run_id: str, server: Real, run: dict[str, Any], trial: dict[str, Any]) -> None:
    assert run["info"]["status"] == STATES[trial["status"]]
    assert {name: float(value) for name, value in run["params"].items()} == trial["parameters"]
    assert run["metrics"].get("objective") == trial["value"]
    log = laptop.volume / "runs" / run_id / "tune" / f"trial-{trial['name'].rpartition('-')[2]}.log"
    for name, values in metrics.curve(log.read_text().splitlines()).items():
        logged = server.history(run, name)
        assert [*dict(logged).values()] == values, name
        assert len(set(logged)) == len(logged), f"a value of {name} is there twice"


def sync(laptop: Laptop, run_id: str, server: Real) -> tuple[int, str]:
    return laptop.again("sync", run_id, "--tracking-uri", server.url)


def test_run_and_two_more_syncs(laptop: Laptop, server: Real) -> None:
    code, output = laptop.call("run", "--run-id", "once", "--tracking-uri", server.url, values=["model_name=once"])
    assert code == 0, output
    assert "warning" not in output
    assert_same(laptop, "once", server, "once")
    for _ in range(2):
        code, output = sync(laptop, "once", server)
        assert code == 0, output
    assert_same(laptop, "once", server, "once")


def test_steps_write_while_the_run_goes_on(laptop: Laptop, server: Real) -> None:
    values = ["model_name=steps", f"tracking_uri={server.url}"]
    process = laptop.start("run", "--run-id", "steps", values=values)
    wait_for(lambda: (laptop.volume / "runs" / "steps" / "endings" / "tracking_uri.txt").exists())
    assert states(server, "steps") == ["RUNNING"]
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "warning" not in output
    assert laptop.summary("steps")["warnings"] == []
    assert_same(laptop, "steps", server, "steps")


def test_server_that_is_down_is_told_and_made_up_for(laptop: Laptop, server: Real) -> None:
    values = ["model_name=down", "tracking_uri=http://127.0.0.1:9"]
    code, output = laptop.call("run", "--run-id", "down", values=values)
    assert code == 0, output
    assert output.count("warning: run down is not written down") == 1
    (warning,) = laptop.summary("down")["warnings"]
    assert "hyperflow sync down --tracking-uri http://127.0.0.1:9" in warning
    assert "Connection refused" in (laptop.volume / "runs" / "down" / "report.html").read_text()
    code, output = sync(laptop, "down", server)
    assert code == 0, output
    assert_same(laptop, "down", server, "down")


def test_run_that_is_killed_in_its_search_and_gone_on_with(laptop: Laptop, server: Real) -> None:
    words = ("run", "--run-id", "killed", "--tracking-uri", server.url)
    process = laptop.start(*words, values=["model_name=killed", "trial_epochs=4", "parallel_trials=1", "max_trials=12"])
    logs = laptop.volume / "runs" / "killed" / "tune"
    wait_for(lambda: "epoch=1" in text(logs / "trial-001.log"))
    code, output = sync(laptop, "killed", server)
    assert code == 0, output
    assert states(server, "killed")[0] == "RUNNING"
    ahead = logs / f"trial-{len([*logs.glob('trial-*.log')]):03d}.log"
    wait_for(lambda: ahead.exists())
    laptop.kill(process)
    laptop.assert_nothing_runs()
    assert "epoch=4" not in text(ahead), "the trial had ended: the kill came too late to cut it off"
    assert sync(laptop, "killed", server)[0] == 0
    parent, *nested = states(server, "killed")
    assert parent == "FAILED"
    assert nested.count("FINISHED") >= 1
    assert nested.count("KILLED") == 1
    assert "RUNNING" not in nested
    code, output = laptop.again(*words)
    assert code == 0, output
    assert_same(laptop, "killed", server, "killed")


def test_run_that_is_killed_after_each_of_its_steps(laptop: Laptop, server: Real) -> None:
    with serving(ModelRegistry()) as registry:
        values = ["model_name=often", f"tracking_uri={server.url}", f"model_registry={registry.url}"]
        for stage in ("check", "load_data", "tune", "train", "decide", "deploy"):
            process = laptop.start("run", "--run-id", "often", values=values)
            ended = laptop.volume / "runs" / "often" / "steps" / f"{stage}.json"
            wait_for(lambda: ended.exists() or process.poll() is not None)  # noqa: B023 — called here and now
            laptop.kill(process)
            laptop.assert_nothing_runs()
        code, output = laptop.call("run", "--run-id", "often", values=values)
        assert code == 0, output
        assert_same(laptop, "often", server, "often")
        (version,) = registry.held["versions"].values()
        assert (version["name"], version["state"]) == ("often", "LIVE")
        assert version["customProperties"]["hyperflow.stage"]["string_value"] == "serving"
        assert [len(registry.held[kind]) for kind in ("registered_models", "artifacts")] == [1, 1]


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_many_at_once_and_then_one_more(laptop: Laptop, server: Real) -> None:
    code, output = laptop.call("run", "--run-id", "raced", values=["model_name=raced"])
    assert code == 0, output
    command = [sys.executable, "-m", "hyperflow", "sync", "raced", "--tracking-uri", server.url]
    command += ["--folder", str(laptop.volume)]
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(4)]
    for process in racing:
        process.communicate(timeout=300)
    began = time.monotonic()
    code, output = sync(laptop, "raced", server)
    assert code == 0, output
    assert time.monotonic() - began < 60
    assert_same(laptop, "raced", server, "raced")


def states(server: Real, run_id: str) -> list[str]:
    """The states of a run, and of its trials."""
    runs = sorted(server.runs(run_id), key=lambda run: "hyperflow.trial" in run["tags"])
    assert "hyperflow.run_id" in runs[0]["tags"]
    return [run["info"]["status"] for run in runs]
