"""Run the trainer as engines do: as a process of its own, or forked from a warm one that has imported TensorFlow."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperflow import metrics
from hyperflow.specs import Value

SECONDS = 120

_INHERITED = {
    name: value for name, value in os.environ.items() if name != "TF_CONFIG" and not name.startswith("HYPERFLOW_")
}

_warm = multiprocessing.get_context("forkserver")
_warm.set_forkserver_preload(["hyperflow.fashion.train"])


@dataclass
class Ended:
    """How a trainer ended; a signal's number is negative."""

    code: int
    output: str
    errors: str

    @property
    def history(self) -> dict[str, list[float]]:
        return metrics.history(self.output.splitlines())

    @property
    def digest(self) -> str:
        return self.errors.split("weights-digest: ")[1].split()[0]


@dataclass
class Running:
    """A trainer at work; its output goes to files."""

    process: multiprocessing.process.BaseProcess
    folder: Path

    def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; fail if the trainer ends first."""
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert self.process.is_alive(), self.end().errors
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def wait_for_epoch(self, number: int) -> None:
        out = self.folder / "out"
        self.wait_for(lambda: out.exists() and f"epoch={number} " in out.read_text())

    def end(self, send: signal.Signals | None = None) -> Ended:
        """Send a signal, wait for the end and read what was printed."""
        assert self.process.pid is not None
        if send is not None:
            os.kill(self.process.pid, send)
        self.process.join(SECONDS)
        code = self.process.exitcode
        self.process.kill()
        errors = (self.folder / "err").read_text()
        assert code is not None, f"still running: {errors}"
        return Ended(code, (self.folder / "out").read_text(), errors)


def start(folder: Path, environment: Mapping[str, str] | None = None, **flags: Value) -> Running:
    """Fork a trainer from the warm process; flags are its arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    process = _warm.Process(target=_trainer, args=(folder, {**_INHERITED, **(environment or {})}, _words(flags)))
    process.start()
    return Running(process, folder)


def run(folder: Path, environment: Mapping[str, str] | None = None, **flags: Value) -> Ended:
    """Run a trainer, forked from the warm process, to its end."""
    return start(folder, environment, **flags).end()


def run_cold(environment: Mapping[str, str] | None = None, **flags: Value) -> Ended:
    """Run a trainer as a command, to its end."""
    command = [sys.executable, "-m", "hyperflow.fashion.train", *_words(flags)]
    everything = {**_INHERITED, **(environment or {})}
    ended = subprocess.run(command, env=everything, capture_output=True, text=True, timeout=SECONDS, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def start_cluster(folder: Path, roles: list[str], **flags: Value) -> list[Running]:
    """Start several trainers as one cluster, with the environment that TFJob would give each."""
    cluster: dict[str, list[str]] = {}
    tasks: list[dict[str, str | int]] = []
    for role, port in zip(roles, free_ports(len(roles)), strict=True):
        tasks.append({"type": role, "index": len(cluster.setdefault(role, []))})
        cluster[role].append(f"127.0.0.1:{port}")
    configs = [json.dumps({"cluster": cluster, "task": task}) for task in tasks]
    names = [f"{task['type']}-{task['index']}" for task in tasks]
    return [start(folder / name, {"TF_CONFIG": config}, **flags) for name, config in zip(names, configs, strict=True)]


def _words(flags: Mapping[str, Value]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _trainer(folder: Path, environment: Mapping[str, str], argv: list[str]) -> None:
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    from hyperflow.fashion.train import main

    sys.exit(main(argv))


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports
