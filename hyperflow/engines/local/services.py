"""Serve on this machine: our own predictor as a process a model, and a port that passes between them.

A new model starts beside the old one, on a port of its own, and gets the service's port by
`promote`: it then accepts on the very same socket, so that no connection is lost while the old one
drains. One file a service says what is served, and what was to be served first and failed.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hyperflow.engines.local import processes, servers
from hyperflow.engines.local.servers import HOST, Server
from hyperflow.errors import JobFailed, Unavailable
from hyperflow.serving import control
from hyperflow.specs import Endpoint, ModelRef, ServeSpec
from hyperflow.volume import write_text

KEEP = "HYPERFLOW_KEEP_SERVING"
"""Environment variable that lets a service outlive the run that started it."""

_UNTESTED = "it answered, but did not pass its test"


@dataclass(frozen=True)
class Failure:
    """The mark of a first deployment that failed; what it left is for inspection and does not count as served.

    Args:
        reason: What was wrong.
        model: What was to be served.
        log: The output of its server.
        server: The server, where it came up; it answers on a port of its own.
    """

    reason: str
    model: ModelRef
    log: str
    server: Server | None = None


@dataclass(frozen=True)
class Service:
    """A name, its port, the server that has the port, and a candidate for it.

    Args:
        name: The service's name.
        port: The port its users know; 0 until there is one.
        current: The server that has the port.
        candidate: The server that `promote` gives the port to.
        previous: The model served before the current one.
        failed: The mark of a first deployment that failed, until the next one.
    """

    name: str
    port: int = 0
    current: Server | None = None
    candidate: Server | None = None
    previous: ModelRef | None = None
    failed: Failure | None = None

    @property
    def alive(self) -> Service:
        """The same without the servers that have ended since it was written down."""
        current, candidate = _if_alive(self.current), _if_alive(self.candidate)
        failed = replace(self.failed, server=_if_alive(self.failed.server)) if self.failed else None
        return replace(self, current=current, candidate=candidate, failed=failed)

    @property
    def servers(self) -> list[Server]:
        """Every server of this service."""
        left = self.failed.server if self.failed else None
        return [server for server in (self.candidate, self.current, left) if server]


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
        return self._written(name).alive

    def stage(self, spec: ServeSpec) -> Endpoint:
        """Have a model loaded, warmed and answering on a port of its own, beside what is served."""
        service = self.read(spec.name)
        for server in (service.candidate, service.current):
            if server and server.model == spec.model:
                return _endpoint(service, server)
        self.check_port(spec)
        for server in service.servers:
            if server != service.current:
                server.stop()
        service = replace(service, port=service.port or spec.port, candidate=None, failed=None)
        try:
            candidate = servers.start(spec, self._folder, bool(os.environ.get(KEEP)) or service.current is not None)
        except JobFailed as failure:
            log = str(servers.log_of(spec, self._folder))
            raise self._given_up(service, failure, Failure(failure.what, spec.model, log)) from failure
        service = replace(service, candidate=candidate)
        self._write(service)
        return _endpoint(service, candidate)

    def promote(self, name: str) -> Endpoint:
        """Give the candidate the service's port, and let the one that had it drain and end."""
        written, service = self._written(name), self.read(name)
        if written.candidate and not service.candidate:
            raise self._ended(service, written.candidate)
        if service.candidate is None:
            if service.current is None:
                why = service.failed.reason if service.failed else f"nothing is written down in {self._folder}"
                raise JobFailed(f"no service {name!r} runs", why, "deploy it")
            return _endpoint(service, service.current)
        with self._public_socket(service) as listener:
            control.take(Path(service.candidate.control), listener)
            port = listener.getsockname()[1]
        previous = service.current.model if service.current else service.previous
        promoted = Service(name, port, service.candidate, None, previous)
        self._write(promoted)
        if service.current:
            service.current.stop()
        return _endpoint(promoted, service.candidate)

    def restore(self, name: str) -> Endpoint:
        """End a candidate that did not pass, or bring back the model served before the current one.

        It goes by what was written down: a candidate that has died is what has to be taken back, not its predecessor.
        """
        service = self._written(name)
        tried, current = service.candidate or service.current, service.current
        before = current.model if service.candidate and current else service.previous if current else None
        if tried is None or before is None:
            raise self._nothing_before(service, tried)
        if service.candidate:
            service.candidate.stop()
            service = replace(service, candidate=None)
            self._write(service)
            if current and current.alive:
                return _endpoint(service, current)
        self.stage(ServeSpec(tried.run_id, name, before, port=service.port))
        back = self.promote(name)
        left = None if before == service.previous else service.previous  # never to what was just taken back
        self._write(replace(self._written(name), previous=left))
        return replace(back, previous=left)

    def check_port(self, spec: ServeSpec) -> None:
        """Refuse a port that another program has, before anything is started for it."""
        service = self.read(spec.name)
        ours = service.current and service.port == spec.port
        if service.failed and service.failed.server:
            ours = service.failed.server.public_port == spec.port
        if spec.port and not ours:
            _listen(spec.port).close()

    def deployed(self, name: str) -> Endpoint | None:
        """Return the model that was tried last and not taken back, be its server dead."""
        service = self._written(name)
        server = service.candidate or service.current
        return _endpoint(service, server) if server else None

    def serving(self, name: str) -> Endpoint | None:
        """Return what has the service's port, or None."""
        service = self.read(name)
        return _endpoint(service, service.current) if service.current else None

    def stop(self, name: str, run_id: str = "") -> bool:
        """End a service's processes, or only those that end with a run; return whether there were any."""
        running = self.read(name).servers
        ending = [server for server in running if not run_id or (server.run_id == run_id and not server.kept)]
        for server in ending:
            server.stop()
        return bool(ending)

    def _given_up(self, service: Service, failure: JobFailed, mark: Failure) -> JobFailed:
        """Write down what a failed deployment leaves; word what failed and what is served now."""
        if service.current:
            self._write(replace(service, candidate=None))
            url = _endpoint(service, service.current).url
            now = f"the previous model ({service.current.model.path}) is still served at {url}"
        else:
            self._write(Service(service.name, service.port, failed=mark))
            now = f"no other is served as {service.name}, which is marked as failed"
        return type(failure)(f"{failure.what}; {now}", failure.why, failure.remedy)

    def _ended(self, service: Service, candidate: Server) -> JobFailed:
        """Word that a candidate has died before it could be given the port."""
        what = f"the model server for {candidate.model.path} has ended before all requests went to it"
        why = f"its log {candidate.log} ends with\n{processes.tail(Path(candidate.log))}"
        failure = JobFailed(what, why, "see the cause above, and deploy it again")
        return self._given_up(service, failure, Failure(what, candidate.model, candidate.log))

    def _nothing_before(self, service: Service, tried: Server | None) -> JobFailed:
        """Mark what failed with nothing before it, and word where to look at it."""
        what = f"{service.name} cannot go back to an earlier model"
        if tried is None:
            why = service.failed.reason if service.failed else f"nothing is written down in {self._folder}"
            return JobFailed(what, why, "deploy it")
        left = tried if tried.alive else None
        mark = Failure(_UNTESTED if left else "its server has ended", tried.model, tried.log, left)
        self._write(Service(service.name, service.port, failed=mark))
        why = f"none was served before {tried.model.path}, which is marked as failed: {mark.reason}"
        stays = f"ask it at {tried.url} until it is stopped" if left and tried.kept else ""
        look = stays or f"see it with `hyperflow serve {tried.model.path}`"
        return JobFailed(what, why, f"{look}; its log is {tried.log}; the next deployment takes its place")

    def _public_socket(self, service: Service) -> socket.socket:
        if service.current:
            listener = control.give(Path(service.current.control))
            if listener is not None:
                return listener
        return _listen(service.port)

    def _written(self, name: str) -> Service:
        """Return the service as it was written down, with servers that may have ended."""
        try:
            record = json.loads(self._record(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Service(name)
        current, candidate, failed = record["current"], record["candidate"], record.get("failed")
        return Service(
            name, record["port"], servers.read(current) if current else None,
            servers.read(candidate) if candidate else None,
            ModelRef(**record["previous"]) if record["previous"] else None, _failure(failed) if failed else None,
        )  # fmt: skip

    def _record(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _write(self, service: Service) -> None:
        write_text(self._record(service.name), json.dumps(service, default=_plain, indent=2))


def _if_alive(server: Server | None) -> Server | None:
    return server if server and server.alive else None


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        remedy = "stop the program that has it, or give another port (0 takes any free one)"
        raise Unavailable(f"port {port} cannot be used", error.strerror or str(error), remedy) from error
    listener.listen(1024)
    return listener


def _endpoint(service: Service, server: Server) -> Endpoint:
    is_public = server == service.current and service.port
    url = f"http://{HOST}:{service.port}" if is_public else server.url
    before = service.current.model if service.current else None
    previous = service.previous if server == service.current else before
    return Endpoint(service.name, url, server.model, previous, f"pid-{server.pid}", server.log)


def _failure(record: Mapping[str, Any]) -> Failure:
    server = record["server"]
    model = ModelRef(**record["model"])
    return Failure(record["reason"], model, record["log"], servers.read(server) if server else None)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else vars(value)
