"""The programs that a documented command calls, where the thing itself is not here: linked under their names.

`hyperflow` is the real one, with the small data set and a budget for it. What only a cluster can do is read as the real
command line reads it, and then left. A server that the documents name is one of the test's.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperflow.engines.local.processes import free_port
from tests.docs.pages import ROOT
from tests.runner.laptop import QUICK, SMALL, wait_for

SERVERS = {
    "https://kubeflow.example.org/pipeline": "API_URL",
    "http://mlflow.example.org:5000": "MLFLOW_URL",
    "http://registry.example.org:8080": "REGISTRY_URL",
}
"""The addresses of the documents, and the variables with those of the test."""

ELSEWHERE = ("preflight",)
"""Commands that need a cluster: tests/kubeflow has them."""


def hyperflow(words: list[str]) -> None:
    """Run the real command with small data, at this test's port and API."""
    for documented, name in SERVERS.items():
        words = [word.replace(documented, os.environ.get(name, documented)) for word in words]
    words = [re.sub(r"=/path/to/\w+$", f"={SMALL}", word) for word in words]
    words = [word.replace("/opt/torch/bin/python", os.environ["TORCH_PYTHON"]) for word in words]
    command = words[0]
    _read(words)
    if command in ELSEWHERE or "https://kubeflow.example.org" in words:
        return
    if "--every" in words and command == "run":
        del words[words.index("--every") : words.index("--every") + 2]
    if command == "run":
        own = any(word.startswith("trainer_command=") for word in words)
        quick = [value for value in QUICK if not (own and value.startswith("trainer_arguments"))]
        words = ["run", *[word for value in quick for word in ("--set", value)], *words[1:]]
        words += ["--set", "accuracy_floor=0", "--set", "smoke_accuracy_floor=0"]
    if command in ("pick", "label"):
        words += ["--dataset", "small"]
    if command == "drift":
        words = ["small" if word == "fashion-mnist" else word for word in words]
    if command == "demo":
        sys.exit(_seen([word.replace(":8080", f":{os.environ['PORT']}") for word in words]))
    if command == "serve":
        words += ["--port", os.environ["PORT"]]
    os.execv(sys.executable, [sys.executable, "-m", "hyperflow", *words])


def _seen(words: list[str]) -> int:
    """Start a page that stays in the foreground, look at it as a browser does, and stop it; return its exit code."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    process = subprocess.Popen([sys.executable, "-m", "hyperflow", *words, "--port", str(port)])
    try:
        wait_for(lambda: process.poll() is not None or _answers(address))
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    return 0 if code == 130 else code


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return b"hyperflow" in answer.read().lower()
    except OSError:
        return False


def _read(words: list[str]) -> None:
    """Read the words as the command line does: an option that there is not ends this with its message."""
    commands()[words[0]].make_context(words[0], words[1:])


@functools.cache
def commands() -> Mapping[str, Any]:
    """Return the command line's commands by their names."""
    import typer  # late, as no other program needs it

    from hyperflow.cli import app

    return typer.main.get_command(app).commands  # type: ignore[attr-defined, no-any-return]


def make(words: list[str]) -> None:
    """Ask whether the Makefile has the goals."""
    goals = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    unknown = [word for word in words if "=" not in word and word not in goals]
    if unknown:
        sys.exit(f"make has no {', '.join(unknown)}")


def kubectl(words: list[str]) -> None:
    """Ask whether there is what is applied; answer what is asked."""
    if "-k" in words and not (Path(words[words.index("-k") + 1]) / "kustomization.yaml").exists():
        sys.exit(f"there is nothing to apply at {words}")
    if "inferenceservice" in words:
        print("http://fashion-mnist.team-a.example.org")
    if "token" in words:
        print("a-token")


def curl(words: list[str]) -> None:
    """Ask this test's model server."""
    served = [re.sub(r"//(?:INGRESS|127\.0\.0\.1:8080)/", f"//127.0.0.1:{os.environ['PORT']}/", word) for word in words]
    os.execv("/usr/bin/curl", ["curl", "--fail", "--silent", "--show-error", *served])


def python3(words: list[str]) -> None:
    """Make an environment of which the programs do nothing: tests/installed makes a real one; read what pip is told."""
    if "-r" in words and "--no-deps" not in words:
        sys.exit("a lock overrides a package's pin, so pip refuses it without --no-deps")
    if words[:2] == ["-m", "venv"]:
        programs = Path(words[2]) / "bin"
        programs.mkdir(parents=True)
        (programs / "pip").symlink_to("/bin/true")


def nothing(words: list[str]) -> None:
    """Do nothing: docker, sudo, uv and pip have nothing to do with this machine."""


PROGRAMS = {
    "hyperflow": hyperflow, "make": make, "kubectl": kubectl, "curl": curl,
    "docker": nothing, "sudo": nothing, "uv": nothing, "kfp": nothing, "python3": python3,
}  # fmt: skip

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2:])
