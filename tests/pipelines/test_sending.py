"""`hyperflow submit` and `schedule`: typed values, judged before anything is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipelines.api import Api

ROOT = Path(__file__).parents[2]


def hyperflow(api: Api, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hyperflow", *words, "--endpoint", api.url]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "COLUMNS": "300", **environment}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def test_submit_sends_values_of_their_types(api: Api) -> None:
    values = ("max_trials=12", "cpu=1", "force=true", "significance=0.1", 'node_selector={"disk": "ssd"}')
    ended = hyperflow(api, "submit", *(word for value in values for word in ("--set", value)), "--namespace", "team-a")
    assert ended.returncode == 0, ended.stderr
    assert "run run-1 of train_and_serve.yaml has started" in ended.stdout
    assert api.sent["experiments"]["display_name"] == "hyperflow"
    assert api.sent["experiments"]["namespace"] == "team-a"
    assert api.sent["runs"]["runtime_config"]["parameters"] == {
        "max_trials": 12, "cpu": "1", "force": True, "significance": 0.1, "node_selector": {"disk": "ssd"},
    }  # fmt: skip
    specification, platform = yaml.safe_load_all((ROOT / "build" / "train_and_serve.yaml").read_text())
    assert api.sent["runs"]["pipeline_spec"] == {"pipeline_spec": specification, "platform_spec": platform}


@pytest.mark.parametrize(
    ("words", "trigger"),
    [
        (("--cron", "0 0 3 * * *"), {"cron_schedule": {"cron": "0 0 3 * * *"}}),
        (("--every", "6h"), {"periodic_schedule": {"interval_second": "21600"}}),
    ],
)
def test_schedule_starts_one_run_at_a_time_and_makes_up_for_none(
    api: Api, words: tuple[str, ...], trigger: dict[str, dict[str, str]]
) -> None:
    ended = hyperflow(api, "schedule", *words, "--set", "retune_every=30", "--set", "evaluator=true")
    assert ended.returncode == 0, ended.stderr
    sent = api.sent["recurringruns"]
    assert {kind: {key: str(value) for key, value in each.items()} for kind, each in sent["trigger"].items()} == trigger
    assert (sent["no_catchup"], str(sent["max_concurrency"]), sent["mode"]) == (True, "1", "ENABLE")
    assert sent["runtime_config"]["parameters"] == {"retune_every": 30, "evaluator": True}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("submit", "--set", "max_trials=many"), "max_trials"),
        (("submit", "--set", "max_trails=3"), "max_trials"),
        (("submit", "--set", "canary_percent=200"), "canary_percent"),
        (("submit", "--set", "gpus=1"), "hyperflow-model-cuda"),
        (("schedule", "--cron", "0 3 * * *"), "seconds first"),
        (("schedule", "--cron", "0 0 3 * * *", "--every", "1h"), "--every"),
        (("schedule",), "--every"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_sent(api: Api, words: tuple[str, ...], named: str) -> None:
    ended = hyperflow(api, *words)
    assert ended.returncode == 2
    assert named in ended.stderr
    assert api.sent == {}


def test_the_token_is_the_environments(api: Api) -> None:
    assert hyperflow(api, "submit", HYPERFLOW_TOKEN="a-token").returncode == 0
    assert api.headers["authorization"] == "Bearer a-token"
    assert hyperflow(api, "submit", HYPERFLOW_COOKIE="authservice_session=abc").returncode == 0
    assert api.headers["Cookie"] == "authservice_session=abc"


def test_the_servers_refusal_is_told(api: Api) -> None:
    api.refusal = (400, {"error": "Invalid input error: unknown parameter", "message": "unknown parameter"})
    ended = hyperflow(api, "submit")
    assert ended.returncode == 1
    assert "unknown parameter" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_server_that_is_not_there_is_told(api: Api) -> None:
    api.close()
    ended = hyperflow(api, "submit")
    assert ended.returncode == 1
    assert api.url in ended.stderr
    assert "--endpoint" in ended.stderr
    assert "Traceback" not in ended.stderr
