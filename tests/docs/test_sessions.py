"""What the documents show of a terminal, `$ command` and what it prints, is what happens, numbers and names apart.

Whoever else takes part is here too: the person who answers, users who send pictures, MLflow, the Model Registry.
"""

from __future__ import annotations

import getpass
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from hyperflow import datasets, volume
from tests.docs import pages, shell
from tests.docs.pages import Step
from tests.pipelines.api import Api
from tests.runner.laptop import SMALL
from tests.tracking import life, volumes
from tests.tracking.mlflow import Mlflow, serving
from tests.tracking.registry import ModelRegistry

pytestmark = [pytest.mark.docs, pytest.mark.timeout(600)]

NOWHERE = "http://127.0.0.1:9"
RUN = re.compile(r"\b\d{8}-\d{6}-[0-9a-f]{4}\b")


def sessions(page: str) -> list[list[Step]]:
    return pages.sessions((pages.ROOT / "docs" / page).read_text())


def plain(line: str, checkout: Path) -> str:
    """Leave out of a line what is another one each time, and call what the reader has as the documents do."""
    line = line.replace(str(checkout / "volume"), "/home/you/volume").replace(NOWHERE, "http://SERVER")
    line = re.sub(r"http://\w+\.example\.org:\d+", "http://SERVER", line)
    line = re.sub(rf"\bby {re.escape(getpass.getuser())}\b", "by you", RUN.sub("RUN", line))
    line = re.sub(r"\bsmall\b", "fashion-mnist", line)
    return re.sub(r"[-+]?\d[\d.:-]*(e-\d+)?", "N", line).strip()


def assert_printed(step: Step, output: str, checkout: Path) -> None:
    lines = iter([plain(line, checkout) for line in output.splitlines()])
    for expected in step.prints:
        assert plain(expected, checkout) in lines, f"{step.command} does not print {expected!r}:\n{output}"


def carry_out(steps: list[Step], checkout: Path, api: Api, *, alone: bool = True, **environment: str) -> None:
    for step in steps:
        code, output = shell.run(step.command, checkout, api, alone=alone, COLUMNS="400", **environment)
        assert code == 0, f"{step.command}: {output}"
        assert_printed(step, output, checkout)


def until(process: subprocess.Popen[str], last: str, checkout: Path) -> str:
    """Read what a process prints up to a line."""
    assert process.stdout
    read = ""
    for line in process.stdout:
        read += line
        if plain(line, checkout) == plain(last, checkout):
            return read
    raise AssertionError(f"{last!r} is not printed:\n{read}")


def test_a_person_answers_in_another_terminal(checkout: Path, api: Api) -> None:
    (asks,), answers, *_ = sessions("approval.md")
    with shell.started(asks.command, checkout, api, COLUMNS="400") as process:
        said = until(process, asks.prints[-1], checkout)
        assert_printed(asks, said, checkout)
        (documented,), (waits,) = {*RUN.findall(asks.prints[0])}, {*RUN.findall(said)}
        typed = [Step(each.command.replace(documented, waits), each.prints) for each in answers]
        carry_out(typed, checkout, api, alone=False)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said + rest
    summary = json.loads((checkout / "volume" / "runs" / waits / "summary.json").read_text())
    assert summary["decision"]["approval"]["why"] == "the shirts look right"


def test_what_users_send_is_compared_labelled_and_learnt_from(
    checkout: Path, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(checkout / "volume"))
    images = datasets.load(str(SMALL), "small")
    pixels = datasets.open_dataset(images.path).images("test").reshape(-1, 784)
    with shell.started("hyperflow run --keep-serving --set log_payloads=payloads", checkout, api) as process:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        (summary,) = (checkout / "volume" / "runs").glob("*/summary.json")
        endpoint, log = json.loads(summary.read_text())["endpoint"], checkout / "volume" / "payloads"
        send(endpoint, pixels)
        shutil.copytree(log, checkout / "payloads")
        send(endpoint, 255 - pixels)
    (drift,) = sessions("serving.md")
    carry_out(drift, checkout, api)
    (labelling,) = sessions("retrain.md")
    carry_out(labelling, checkout, api)


def send(endpoint: str, pixels: np.ndarray) -> None:
    for rows in np.array_split(pixels, max(1, len(pixels) // 50)):
        instances = [{"flatten_input": row.tolist()} for row in rows]
        httpx.post(endpoint, json={"instances": instances}, timeout=30).raise_for_status()


@pytest.fixture(params=["tracking.md", "model-registry.md"])
def page(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server(page: str) -> Iterator[Mlflow | ModelRegistry]:
    played: Mlflow | ModelRegistry = Mlflow() if page == "tracking.md" else ModelRegistry()
    with serving(played):
        yield played


def test_runs_are_written_down_on_a_server(
    page: str, server: Mlflow | ModelRegistry, checkout: Path, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(checkout / "volume"))
    life.promoted(volumes.RUN, life.deployed(volumes.RUN))
    (steps,) = sessions(page)
    name = "MLFLOW_URL" if page == "tracking.md" else "REGISTRY_URL"
    carry_out(steps, checkout, api, KF_PIPELINES_ENDPOINT=api.url, **{name: server.url})
    assert "runs" in api.sent
    here = [each for each in steps if not each.command.startswith("hyperflow submit")]
    made = server.of("hyperflow.run_id") if isinstance(server, Mlflow) else server.held["versions"]
    assert len(made) == len(here)
    told = next(each for each in pages.blocks((pages.ROOT / "docs" / page).read_text()) if "warning: " in each.text)
    again = next(each.command for each in here if " run " in each.command)
    carry_out([Step(again, tuple(told.text.splitlines()))], checkout, api, **{name: NOWHERE})
