"""Serve on this machine: KServe's Python model server as a process a model, and a port that passes between them.

A new model starts beside the old one, on a port of its own, and gets the service's port by
`promote`: it then accepts on the very same socket, so that no connection is lost while the old one
drains. One file a service says what is served; a process is known by its id and the time it
started, so that a stranger with a reused id is never taken for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from hyperflow.engines.local import processes
from hyperflow.errors import JobFailed, JobTimeout, Unavailable
from hyperflow.serving import control
from hyperflow.specs import Endpoint, ModelRef, ServeSpec
from hyperflow.volume import writable, write_text

KEEP = "HYPERFLOW_KEEP_SERVING"
"""Environment variable that lets a service outlive the run that started it."""

_DRAIN = 35.0  # seconds: the server's own limit for draining is 30
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """One running model server and what it serves.

    Args:
        pid: Its process.
        started: When the process started, as the system counts; with the pid, its identity.
        port: The port of its own.
        control: Its control socket.
        log: Its output.
        model: What it serves.
        run_id: The run that started it.
        kept: Whether it may outlive that run.
    """

    pid: int
    started: float
    port: int
    control: str
    log: str
    model: ModelRef
    run_id: str
    kept: bool

    @property
    def alive(self) -> bool:
        """Whether this very process runs."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def stop(self) -> None:
        """Let the process drain and end, and wait until it has."""
        if not self.alive:
            return
        process = psutil.Process(self.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_DRAIN)
            except psutil.TimeoutExpired:
                process.kill()


@dataclass(frozen=True)
class Service:
    """A name, its port, the server that has the port, and a candidate for it.

    Args:
        name: The service's name.
        port: The port its users know; 0 until there is one.
        current: The server that has the port.
        candidate: The server that `promote` gives the port to.
        previous: The model served before the current one.
    """

    name: str
    port: int = 0
    current: Server | None = None
    candidate: Server | None = None
    previous: ModelRef | None = field(default=None)

    @property
    def alive(self) -> Service:
        """The same without the servers that have ended since it was written down."""
        current = self.current if self.current and self.current.alive else None
        candidate = self.candidate if self.candidate and self.candidate.alive else None
        return replace(self, current=current, candidate=candidate)


class Services:
    """The services of one volume.

    Args:
        folder: Where their records and logs are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Return the names of all services written down."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def read(self, name: str) -> Service:
        """Return the service as it is now; an empty one where there is none of that name."""
        try:
            record = json.loads(self._record(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Service(name)
        return Service(
            name, record["port"], _server(record["current"]), _server(record["candidate"]), _model(record["previous"])
        ).alive

    def stage(self, spec: ServeSpec) -> Endpoint:
        """Have a model loaded, warmed and answering on a port of its own, beside what is served."""
        service = self.read(spec.name)
        for server in (service.candidate, service.current):
            if server and server.model == spec.model:
                return _endpoint(service, server)
        self.check_port(spec)
        if service.candidate:
            service.candidate.stop()
        candidate = self._start(spec, keep=bool(os.environ.get(KEEP)) or service.current is not None)
        service = replace(service, candidate=candidate, port=service.port or spec.port)
        self._write(service)
        return _endpoint(service, candidate)

    def promote(self, name: str) -> Endpoint:
        """Give the candidate the service's port, and let the one that had it drain and end."""
        service = self.read(name)
        if service.candidate is None:
            if service.current is None:
                raise JobFailed(f"no service {name!r} runs", f"nothing is written down in {self._folder}", "deploy it")
            return _endpoint(service, service.current)
        listener = self._public_socket(service)
        with listener:
            control.take(Path(service.candidate.control), listener)
            port = listener.getsockname()[1]
        previous = service.current.model if service.current else service.previous
        promoted = Service(name, port, service.candidate, None, previous)
        self._write(promoted)
        if service.current:
            service.current.stop()
        return _endpoint(promoted, service.candidate)

    def restore(self, name: str) -> Endpoint:
        """End a candidate that did not pass, or bring back the model served before the current one."""
        service = self.read(name)
        if service.candidate and service.current:
            service.candidate.stop()
            self._write(replace(service, candidate=None))
            return _endpoint(service, service.current)
        if service.current is None or service.previous is None:
            raise JobFailed(
                f"{name} cannot go back to an earlier model", "none was served before this one",
                "the new one is left as it is, to be looked at",
            )  # fmt: skip
        self.stage(ServeSpec(service.current.run_id, name, service.previous, port=service.port))
        return self.promote(name)

    def check_port(self, spec: ServeSpec) -> None:
        """Refuse a port that another program has, before anything is started for it."""
        service = self.read(spec.name)
        if spec.port and not (service.current and service.port == spec.port):
            _listen(spec.port).close()

    def serving(self, name: str) -> Endpoint | None:
        """Return what has the service's port, or None."""
        service = self.read(name)
        return _endpoint(service, service.current) if service.current else None

    def stop(self, name: str, run_id: str = "") -> bool:
        """End a service's processes, or only those that end with a run; return whether there were any."""
        service = self.read(name)
        servers = [server for server in (service.candidate, service.current) if server]
        ending = [server for server in servers if not run_id or (server.run_id == run_id and not server.kept)]
        for server in ending:
            server.stop()
        return bool(ending)

    def _start(self, spec: ServeSpec, keep: bool) -> Server:
        log = self._folder / f"{spec.name}-{spec.run_id}.log"
        with writable(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        private = Path(tempfile.mkdtemp(prefix="hyperflow-"))
        ready, socket_path = private / "ready.json", private / "control"
        argv = [
            "python", "-m", "hyperflow.serving", f"--model_name={spec.name}", f"--model_dir={spec.model.path}",
            f"--host={_HOST}", "--http_port=0", "--enable_grpc=false", f"--ready_file={ready}",
            f"--control={socket_path}",
        ]  # fmt: skip
        with writable(self._folder), log.open("ab") as output:
            process = processes.start(argv, dict(os.environ), output.fileno(), "free" if keep else "run")
        try:
            started = psutil.Process(process.pid).create_time()
            ports = _until_ready(process.pid, ready, log, spec)
        except BaseException:
            processes.signal_group(process.pid, signal.SIGKILL)
            raise
        return Server(
            process.pid, started, ports["http_port"], str(socket_path), str(log), spec.model, spec.run_id, keep
        )

    def _public_socket(self, service: Service) -> socket.socket:
        if service.current:
            listener = control.give(Path(service.current.control))
            if listener is not None:
                return listener
        return _listen(service.port)

    def _record(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _write(self, service: Service) -> None:
        write_text(self._record(service.name), json.dumps(service, default=_plain, indent=2))


def _until_ready(pid: int, ready: Path, log: Path, spec: ServeSpec) -> Mapping[str, int]:
    """Wait for the server's own word that its model is loaded, warmed and listening."""
    deadline = time.monotonic() + spec.timeout
    while not ready.exists():
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            raise JobFailed(
                f"the model server for {spec.model.path} ended before it was ready",
                f"its log {log} ends with\n{processes.tail(log)}", "see whether the folder holds a whole SavedModel",
            )  # fmt: skip
        if time.monotonic() > deadline:
            raise JobTimeout(
                f"the model server for {spec.model.path} was not ready after {spec.timeout} s",
                f"its log {log} ends with\n{processes.tail(log)}", "raise deploy_timeout",
            )  # fmt: skip
        time.sleep(0.02)
    ports: Mapping[str, int] = json.loads(ready.read_text(encoding="utf-8"))
    return ports


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as error:
        listener.close()
        remedy = "stop the program that has it, or give another port (0 takes any free one)"
        raise Unavailable(f"port {port} cannot be used", error.strerror or str(error), remedy) from error
    listener.listen(1024)
    return listener


def _endpoint(service: Service, server: Server) -> Endpoint:
    serves_users = server == service.current and service.port
    port = service.port if serves_users else server.port
    before = service.current.model if service.current else None
    previous = service.previous if server == service.current else before
    return Endpoint(service.name, f"http://{_HOST}:{port}", server.model, previous, f"pid-{server.pid}", server.log)


def _server(record: dict[str, object] | None) -> Server | None:
    if record is None:
        return None
    return Server(**{**record, "model": _model(record["model"])})  # type: ignore[arg-type]


def _model(record: object) -> ModelRef | None:
    return None if record is None else ModelRef(**record)  # type: ignore[arg-type]


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else vars(value)
