"""One model server of this machine: started, waited for, known again, ended.

A process is known by its id and the time it started, so that a stranger with a reused id is never taken for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hyperflow.engines.local import processes, scratch
from hyperflow.errors import JobFailed, JobTimeout, Unavailable
from hyperflow.serving import control
from hyperflow.specs import ModelRef, ServeSpec
from hyperflow.volume import MODEL_VERSION, paths, writable
from hyperflow.volume.paths import ONNX

HOST = "127.0.0.1"

_DRAIN = 35.0  # seconds: the server's own limit for draining is 30
_CONTROL = "control"


@dataclass(frozen=True)
class Server:
    """One running model server and what it serves.

    Args:
        pid: Its process.
        started: When the process started, as the system counts; with the pid, its identity.
        port: The port of its own.
        control: Its control socket, in a folder of its own.
        log: Its output.
        model: What it serves.
        run_id: The run that started it.
        kept: Whether it may outlive that run.
        log_payloads: Where it keeps what is asked and answered; empty for nowhere.
    """

    pid: int
    started: float
    port: int
    control: str
    log: str
    model: ModelRef
    run_id: str
    kept: bool
    log_payloads: str = ""

    @property
    def alive(self) -> bool:
        """Whether this very process runs."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    @property
    def url(self) -> str:
        """Where it answers, whoever has the service's port."""
        return f"http://{HOST}:{self.port}"

    @property
    def public_port(self) -> int:
        """The service's port if this server has it, else 0."""
        try:
            return control.status(Path(self.control))["public_port"] or 0
        except Unavailable:
            return 0

    def stop(self) -> None:
        """Let the process drain and end, and wait until it has."""
        if self.alive:
            process = psutil.Process(self.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(_DRAIN)
                except psutil.TimeoutExpired:
                    process.kill()
        _remove(Path(self.control).parent)


def start(spec: ServeSpec, folder: Path, keep: bool) -> Server:
    """Start a server on a port of its own and return once its model is loaded, warmed and answering.

    Args:
        spec: What to serve.
        folder: Where its log is kept.
        keep: Whether it may outlive the run.

    Raises:
        JobFailed: It ended before, with the last lines of its log.
        JobTimeout: It was not ready within `spec.timeout`.
    """
    log = log_of(spec, folder)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    private = scratch.make()
    argv = [
        "python", "-m", "hyperflow.serving", f"--model_name={spec.name}", f"--model_dir={spec.model.path}",
        f"--host={HOST}", "--http_port=0", "--enable_grpc=false", f"--ready_file={private / scratch.READY}",
        f"--control={private / _CONTROL}",
    ]  # fmt: skip
    if spec.log_payloads:
        argv.append(f"--log_payloads={paths.payloads(spec.log_payloads) or spec.log_payloads}")
    lifetime: processes.Lifetime = "free" if keep else "run"
    with writable(folder), log.open("ab") as output:
        process = processes.start(argv, dict(os.environ), output.fileno(), lifetime, bare=keep and _has_copy(spec))
    try:
        started, port = _until_ready(process.pid, private / scratch.READY, log, spec)
    except BaseException:
        processes.signal_group(process.pid, signal.SIGKILL)
        _remove(private)
        raise
    return Server(
        process.pid, started, port, str(private / _CONTROL), str(log), spec.model, spec.run_id, keep, spec.log_payloads
    )  # fmt: skip


def log_of(spec: ServeSpec, folder: Path) -> Path:
    """Return where the output of a run's server goes."""
    return folder / f"{spec.name}-{spec.run_id}.log"


def read(record: Mapping[str, Any]) -> Server:
    """Make a server of what was written down of it."""
    return Server(**{**record, "model": ModelRef(**record["model"])})


def _has_copy(spec: ServeSpec) -> bool:
    """Tell whether a server can do without TensorFlow; what it is forked from has 200 MiB of it."""
    return (Path(spec.model.path) / MODEL_VERSION / ONNX).is_file()


def _until_ready(pid: int, ready: Path, log: Path, spec: ServeSpec) -> tuple[float, int]:
    """Wait for the server's own word that its model is loaded, warmed and listening; return its start and its port."""
    deadline = time.monotonic() + spec.timeout
    try:
        process = psutil.Process(pid)
        started = process.create_time()
        while not ready.exists():
            if process.status() == psutil.STATUS_ZOMBIE:
                raise _ended(spec, log)
            if time.monotonic() > deadline:
                raise JobTimeout(
                    f"the model server for {spec.model.path} was not ready after {spec.timeout} s",
                    f"its log {log} ends with\n{processes.tail(log)}", "raise deploy_timeout",
                )  # fmt: skip
            time.sleep(0.02)
    except psutil.NoSuchProcess as error:
        raise _ended(spec, log) from error
    return started, json.loads(ready.read_text(encoding="utf-8"))["http_port"]


def _ended(spec: ServeSpec, log: Path) -> JobFailed:
    return JobFailed(
        f"the model server for {spec.model.path} ended before it was ready",
        f"its log {log} ends with\n{processes.tail(log)}", "see whether the folder holds a whole SavedModel",
    )  # fmt: skip


def _remove(private: Path) -> None:
    """Remove the folder of a server that has ended."""
    with contextlib.suppress(OSError):
        for name in (scratch.READY, _CONTROL):
            (private / name).unlink(missing_ok=True)
        private.rmdir()
