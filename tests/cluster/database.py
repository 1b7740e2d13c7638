"""A PostgreSQL server of our own for Katib's database manager, from the distribution's package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.cluster.processes import Server, ServerError, free_ports

NAME = USER = DATABASE = "postgres"
"""What the server is called, its first user and the database that comes with it."""
_FOLDERS = "/usr/lib/postgresql"
_NOBODY = "nobody"
"""PostgreSQL refuses to run as root."""


def program(name: str) -> Path | None:
    """Return one of PostgreSQL's programs, from PATH or where Debian puts those of the newest version."""
    folders = sorted(Path(_FOLDERS).glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)]))
    return Path(found) if found else None


class Database:
    """One server on the loopback with its data in `folder`, which is lost with it.

    Args:
        folder: An empty folder that everybody may enter.
    """

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self._folder = folder
        self.server = Server("postgres", self._command(), f"tcp://127.0.0.1:{self.port}", folder / "log")

    def start(self) -> None:
        """Make the data folder, start the server and return when it answers.

        Raises:
            ServerError: It does not.
        """
        if os.geteuid() == 0:
            shutil.chown(self._folder, _NOBODY)
        options = ["--no-sync", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C"]
        command = [*_unprivileged(), str(program("initdb")), *options, str(self._folder / "data")]
        made = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        if made.returncode:
            raise ServerError(f"PostgreSQL made no data folder: {made.stderr.strip()}")
        self.server.start()

    def _command(self) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "jit": "off"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [
            *_unprivileged(),
            str(program("postgres")),
            "-D",
            str(self._folder / "data"),
            "-p",
            str(self.port),
            *words,
        ]


def _unprivileged() -> list[str]:
    # The kernel forgets whose death is to kill a process when that changes its user, so it is told again.
    return ["setpriv", f"--reuid={_NOBODY}", "--clear-groups", "--pdeathsig=KILL"] if os.geteuid() == 0 else []
