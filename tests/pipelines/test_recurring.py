"""The recurring run, created from the compiled YAML by KFP's own client and command against an API that records it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kfp
import pytest
import yaml

from hyperflow import runner
from tests.pipelines.api import Api

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "build" / "retrain.yaml"
CRON = "0 0 3 * * *"


def assert_every_night_one_at_a_time(sent: dict[str, Any]) -> None:
    assert sent["trigger"] == {"cron_schedule": {"cron": CRON}}
    assert len(sent["trigger"]["cron_schedule"]["cron"].split()) == 6  # seconds first
    assert sent["no_catchup"] is True
    assert sent["max_concurrency"] == "1"
    assert sent["mode"] == "ENABLE"
    assert sent["display_name"] == "retrain-fashion-mnist"
    specification, platform = yaml.safe_load_all(PIPELINE.read_text())
    assert sent["pipeline_spec"] == {"pipeline_spec": specification, "platform_spec": platform}


def test_client(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    client = kfp.Client(host=api.url)
    client.create_recurring_run(
        experiment_id="e-1", job_name="retrain-fashion-mnist", pipeline_package_path=str(PIPELINE),
        cron_expression=CRON, max_concurrency=1, no_catchup=True, params={"epochs": 10, "retune_every": 30},
    )  # fmt: skip
    sent = api.sent["recurringruns"] | {"max_concurrency": str(api.sent["recurringruns"]["max_concurrency"])}
    assert_every_night_one_at_a_time(sent)
    assert sent["runtime_config"]["parameters"] == {"epochs": 10, "retune_every": 30}


def documented_command(document: str, beginning: str) -> list[str]:
    """Return a command that the documentation gives."""
    text = (ROOT / document).read_text()
    block = next(part for part in text.split("```") if part.lstrip("sh\n ").startswith("kfp") and beginning in part)
    return shlex.split(block.removeprefix("sh\n").replace("\\\n", " "))


def call_kfp(api: Api, words: list[str], folder: Path) -> None:
    """Call KFP's command as its user would, in a folder with both: our pipelines, and those with the user's images."""
    assert words[0] == "kfp"
    words = words[words.index("--namespace") + 2 :] if "--namespace" in words else words[1:]
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", api.url, *words]
    environment = {**os.environ, "KUBECONFIG": str(folder / "none")}
    shutil.copytree(ROOT / "build", folder / "build", ignore=shutil.ignore_patterns("own"))
    shutil.copytree(folder / "build", folder / "build" / "own", ignore=shutil.ignore_patterns("own"))
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_documented_command_for_a_recurring_run(api: Api, tmp_path: Path) -> None:
    call_kfp(api, documented_command("docs/retrain.md", "recurring-run create"), tmp_path)
    assert api.sent["experiments"]["display_name"] == "retrain"
    sent = api.sent["recurringruns"] | {"max_concurrency": str(api.sent["recurringruns"]["max_concurrency"])}
    assert_every_night_one_at_a_time(sent)
    assert sent["runtime_config"].get("parameters", {}) == {"data_source": "s3://bucket/fashion-mnist"}


def test_documented_command_for_a_run_sends_the_types_that_the_pipeline_declares(api: Api, tmp_path: Path) -> None:
    call_kfp(api, documented_command("docs/tutorial.md", "run create"), tmp_path)
    sent = api.sent["runs"]["runtime_config"]["parameters"]
    assert sent == {"max_trials": 12, "cpu": "4", "early_stopping": True, "node_selector": {"disk": "ssd"}}
    kinds = {int: "NUMBER_INTEGER", str: "STRING", bool: "BOOLEAN", dict: "STRUCT"}
    declared = runner.declared(ROOT / "build" / "train_and_serve.yaml")
    assert {name: kinds[type(value)] for name, value in sent.items()} == {
        name: declared[name]["parameterType"] for name in sent
    }
