"""A real MLflow server: installed once into an environment of its own, with SQLite, and its artifacts in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from hyperflow.engines.local.processes import free_port

VERSION = "3.17.2"
HOME = Path.home() / ".cache" / "hyperflow" / f"mlflow-{VERSION}"


@dataclass(frozen=True)
class Real:
    """The server, asked with nothing of ours."""

    url: str

    def get(self, path: str, **values: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/2.0/mlflow/{path}?{urlencode(values)}", timeout=60) as answer:
            made: dict[str, Any] = json.load(answer)
        return made

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """All runs of an experiment that are not deleted, with their tags and parameters as dicts."""
        found = self.get("experiments/get-by-name", experiment_name=experiment)
        asked = {"experiment_ids": [found["experiment"]["experiment_id"]], "max_results": 1000}
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/runs/search", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            rows = json.load(answer).get("runs", [])
        for row in rows:
            for name in ("tags", "params", "metrics"):
                row[name] = {each["key"]: each["value"] for each in row["data"].get(name, [])}
        return list(rows)

    def history(self, run: dict[str, Any], metric: str) -> list[tuple[int, float]]:
        """Every value that was ever logged of a metric, with its step, in the order of the steps and then of time."""
        rows = self.get("metrics/get-history", run_id=run["info"]["run_id"], metric_key=metric).get("metrics", [])
        rows.sort(key=lambda each: (int(each.get("step", 0)), int(each["timestamp"])))
        return [(int(each.get("step", 0)), float(each["value"])) for each in rows]

    def artifact(self, run: dict[str, Any], name: str) -> bytes:
        path = run["info"]["artifact_uri"].partition(":/")[2]
        address = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{path}/{name}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            content: bytes = answer.read()
        return content


def installed() -> Path:
    """Return the folder of the server's programs; the test is skipped, with the reason, where it cannot be had."""
    complete = HOME / "complete"
    if not complete.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True, timeout=120)
            pip = [str(HOME / "bin" / "pip"), "install", "--quiet", f"mlflow=={VERSION}"]
            done = subprocess.run(pip, text=True, capture_output=True, timeout=900)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"MLflow {VERSION} cannot be installed into {HOME}: {error}")
        if done.returncode:
            pytest.skip(f"MLflow {VERSION} cannot be installed into {HOME}: {done.stderr[-500:]}")
        complete.touch()
    return HOME / "bin"


@contextmanager
def running(folder: Path) -> Iterator[Real]:
    """Run the server while the block does."""
    program, port = installed() / "mlflow", free_port()
    command = [str(program), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        made = Real(f"http://127.0.0.1:{port}")
        _wait(made, process, folder / "log.txt")
        yield made
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _wait(real: Real, process: subprocess.Popen[bytes], log: Path, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"{real.url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
