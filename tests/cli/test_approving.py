"""Answers from the command line: where a run is looked for, and what is said where it is nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_run_that_is_not_here_is_said_not_to_be_before_any_cluster(tmp_path: Path) -> None:
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none"), "COLUMNS": "300"}
    command = [sys.executable, "-m", "hyperflow", "approve", "mistyped", "--folder"]
    here = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, env=environment, check=False)
    assert here.returncode == 1
    assert "run mistyped asks nobody" in here.stderr
    environment["HYPERFLOW_VOLUME"] = str(tmp_path)
    default = subprocess.run(command[:-1], capture_output=True, text=True, env=environment, check=False)
    assert default.returncode == 1
    assert "run mistyped is not on this volume" in default.stderr
    assert str(tmp_path / "runs" / "mistyped") in default.stderr
    assert "no Kubernetes cluster is configured" in default.stderr
