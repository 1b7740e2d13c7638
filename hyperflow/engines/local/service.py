"""What stands behind a service's name on this machine, and the file that says so.

One file a service says what is served, and what was to be served first and failed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hyperflow.engines.local import servers
from hyperflow.engines.local.servers import HOST, Server
from hyperflow.specs import Endpoint, ModelRef
from hyperflow.volume import write_text


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
        moves_to: The port that the candidate is to get, where that is another one; 0 where it is not.
    """

    name: str
    port: int = 0
    current: Server | None = None
    candidate: Server | None = None
    previous: ModelRef | None = None
    failed: Failure | None = None
    moves_to: int = 0

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

    def endpoint(self, server: Server) -> Endpoint:
        """Return where one of its servers is asked."""
        is_public = server == self.current and self.port
        url = f"http://{HOST}:{self.port}" if is_public else server.url
        before = self.current.model if self.current else None
        previous = self.previous if server == self.current else before
        return Endpoint(self.name, url, server.model, previous, f"pid-{server.pid}", server.log)


class Records:
    """The services that are written down in a folder.

    Args:
        folder: Where; their servers' logs are kept there too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Return the names of all services written down."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def read(self, name: str) -> Service:
        """Return a service as it was written down, its servers alive or not; an empty one where there is none."""
        try:
            record = json.loads(self._path(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Service(name)
        current, candidate, failed = record["current"], record["candidate"], record.get("failed")
        return Service(
            name, record["port"], servers.read(current) if current else None,
            servers.read(candidate) if candidate else None,
            ModelRef(**record["previous"]) if record["previous"] else None, _failure(failed) if failed else None,
            record.get("moves_to", 0),
        )  # fmt: skip

    def write(self, service: Service) -> None:
        """Write a service down."""
        write_text(self._path(service.name), json.dumps(service, default=_plain, indent=2))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _if_alive(server: Server | None) -> Server | None:
    return server if server and server.alive else None


def _failure(record: Mapping[str, Any]) -> Failure:
    server = record["server"]
    model = ModelRef(**record["model"])
    return Failure(record["reason"], model, record["log"], servers.read(server) if server else None)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else vars(value)
