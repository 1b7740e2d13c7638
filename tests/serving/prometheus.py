"""A real Prometheus beside the tests, and the manifests' rules and dashboard as it takes them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

MONITORING = Path(__file__).parents[2] / "manifests" / "components" / "monitoring"
MISSING = "" if shutil.which("promtool") and shutil.which("prometheus") else "Prometheus is not installed"


def rules() -> dict[str, Any]:
    """Return what the operator would write into Prometheus' own rules file."""
    groups: dict[str, Any] = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]
    return groups


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule}


def dashboard() -> dict[str, Any]:
    described: dict[str, Any] = json.loads((MONITORING / "hyperflow.json").read_text())
    return described


class Prometheus:
    """One that scrapes a predictor five times a second."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=10)

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = self.client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """Return a query's data once there are any that are numbers."""
        deadline = time.monotonic() + 30
        while not (found := [each for each in self.query(expression) if each["value"][1] not in ("NaN", "+Inf")]):
            assert time.monotonic() < deadline, f"no data for {expression}"
            time.sleep(0.1)
        return found


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules()))
    scrape = {"job_name": "predictor", "static_configs": [{"targets": [target], "labels": {"namespace": "team-a"}}]}
    pace = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
    config = {"global": pace, "rule_files": ["rules.yaml"], "scrape_configs": [scrape]}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *words, f"--web.listen-address={address}"], stdout=log, stderr=log)
    running = Prometheus(f"http://{address}")
    try:
        _await_ready(running, process, folder / "prometheus.log")
        yield running
    finally:
        running.client.close()
        process.terminate()
        process.wait(20)


def _await_ready(running: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if running.client.get("/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
