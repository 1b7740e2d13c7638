"""Commands of a document in one shell, with what the tests' folder has in the place of programs and servers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hyperflow.engines.local.processes import free_port
from tests.docs import pages
from tests.images.test_trainers import torch_python
from tests.pipelines.api import Api


def run(script: str, checkout: Path, api: Api, *, alone: bool = True, **environment: str) -> tuple[int, str]:
    """Run a page's commands in one shell; return its exit code and all that it printed."""
    with started(script, checkout, api, alone=alone, **environment) as process:
        output, _ = process.communicate(timeout=500)
    return process.returncode, output


@contextlib.contextmanager
def started(
    script: str, checkout: Path, api: Api, *, alone: bool = True, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Begin a script; what is left of it at the end of the block is stopped, and what is served too if it is alone."""
    given = {
        **os.environ, "PYTHONPATH": str(pages.ROOT),
        "PATH": f"{checkout / 'programs'}:{os.environ['PATH']}",
        "API_URL": api.url, "PORT": str(free_port()), "TORCH_PYTHON": torch_python(), "COLUMNS": "200", **environment,
    }  # fmt: skip
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script], cwd=checkout, env=given, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if alone:
            command = [sys.executable, "-m", "hyperflow", "stop", "--folder", str(checkout / "volume")]
            subprocess.run(command, capture_output=True, timeout=180, check=False)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
