"""Serve on this machine: our own predictor as a process a model, and a port that passes between them.

A new model starts beside the old one, on a port of its own, and gets the service's port by
`promote`: it then accepts on the very same socket, so that no connection is lost while the old one
drains.
"""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

from hyperflow.engines.local import processes, servers
from hyperflow.engines.local.servers import HOST, Server
from hyperflow.engines.local.service import Failure, Records, Service
from hyperflow.errors import JobFailed, Unavailable
from hyperflow.serving import control
from hyperflow.specs import Endpoint, ServeSpec

KEEP = "HYPERFLOW_KEEP_SERVING"
"""Environment variable that lets a service outlive the run that started it."""

_UNTESTED = "it answered, but did not pass its test"


class Services:
    """The services of one volume.

    Args:
        folder: Where their records and logs are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._records = folder, Records(folder)

    def names(self) -> list[str]:
        """Return the names of all services written down."""
        return self._records.names()

    def read(self, name: str) -> Service:
        """Return the service as it is now; an empty one where there is none of that name."""
        return self._records.read(name).alive

    def stage(self, spec: ServeSpec) -> Endpoint:
        """Have a model loaded, warmed and answering on a port of its own, beside what is served."""
        service = self.read(spec.name)
        for server, port in ((service.candidate, service.moves_to or service.port), (service.current, service.port)):
            if server and server.model == spec.model and spec.port in (0, port):
                return service.endpoint(server)
        self.check_port(spec)
        for server in service.servers:
            if server != service.current:
                server.stop()
        service = _with_port(replace(service, candidate=None, failed=None), spec.port)
        try:
            candidate = servers.start(spec, self._folder, bool(os.environ.get(KEEP)) or service.current is not None)
        except JobFailed as failure:
            log = str(servers.log_of(spec, self._folder))
            raise self._given_up(service, failure, Failure(failure.what, spec.model, log)) from failure
        service = replace(service, candidate=candidate)
        self._records.write(service)
        return service.endpoint(candidate)

    def promote(self, name: str) -> Endpoint:
        """Give the candidate the service's port, and let the one that had it drain and end."""
        written, service = self._records.read(name), self.read(name)
        if written.candidate and not service.candidate:
            raise self._ended(service, written.candidate)
        if service.candidate is None:
            if service.current is None:
                why = service.failed.reason if service.failed else f"nothing is written down in {self._folder}"
                raise JobFailed(f"no service {name!r} runs", why, "deploy it")
            return service.endpoint(service.current)
        with self._public_socket(service) as listener:
            control.take(Path(service.candidate.control), listener)
            port = listener.getsockname()[1]
        previous = service.current.model if service.current else service.previous
        promoted = Service(name, port, service.candidate, previous=previous)
        self._records.write(promoted)
        if service.current:
            service.current.stop()
        return promoted.endpoint(service.candidate)

    def restore(self, name: str) -> Endpoint:
        """End a candidate that did not pass, or bring back the model served before the current one.

        It goes by what was written down: a candidate that has died is what has to be taken back, not its predecessor.
        """
        service = self._records.read(name)
        tried, current = service.candidate or service.current, service.current
        before = current.model if service.candidate and current else service.previous if current else None
        if tried is None or before is None:
            raise self._nothing_before(service, tried)
        if service.candidate:
            service.candidate.stop()
            service = replace(service, candidate=None, moves_to=0)
            self._records.write(service)
            if current and current.alive:
                return service.endpoint(current)
        self.stage(ServeSpec(tried.run_id, name, before, port=service.port, log_payloads=tried.log_payloads))
        back = self.promote(name)
        left = None if before == service.previous else service.previous  # never to what was just taken back
        self._records.write(replace(self._records.read(name), previous=left))
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
        service = self._records.read(name)
        server = service.candidate or service.current
        return service.endpoint(server) if server else None

    def serving(self, name: str) -> Endpoint | None:
        """Return what has the service's port, or None."""
        service = self.read(name)
        return service.endpoint(service.current) if service.current else None

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
            self._records.write(replace(service, candidate=None, moves_to=0))
            url = service.endpoint(service.current).url
            now = f"the previous model ({service.current.model.path}) is still served at {url}"
        else:
            self._records.write(Service(service.name, service.port, failed=mark))
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
        self._records.write(Service(service.name, service.port, failed=mark))
        why = f"none was served before {tried.model.path}, which is marked as failed: {mark.reason}"
        stays = f"ask it at {tried.url} until it is stopped" if left and tried.kept else ""
        look = stays or f"see it with `hyperflow serve {tried.model.path}`"
        return JobFailed(what, why, f"{look}; its log is {tried.log}; the next deployment takes its place")

    def _public_socket(self, service: Service) -> socket.socket:
        if service.current and not service.moves_to:
            listener = control.give(Path(service.current.control))
            if listener is not None:
                return listener
        return _listen(service.moves_to or service.port)


def _with_port(service: Service, port: int) -> Service:
    """Give a service the port that is asked for; what has another one keeps it until the candidate takes over."""
    if service.current is None:
        return replace(service, port=port or service.port, moves_to=0)
    return replace(service, moves_to=port if port != service.port else 0)


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
