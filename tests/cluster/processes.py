"""Servers as child processes that log to a file, are ready before they are used and die with the process that started
them, however it ends."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

READY_SECONDS = 60.0
STOP_SECONDS = 10.0


class ServerError(Exception):
    """A server did not start; the message ends with its last words."""


@dataclass
class Server:
    """A server process on the loopback: its command, the address that says it is ready, and its log.

    The address is one that answers 200, or `tcp://` where to listen is to be ready.
    """

    name: str
    command: Sequence[str]
    ready_url: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int | None:
        """Id of the running process, or None."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def start(self) -> None:
        """Start the process and return when it is ready.

        Raises:
            ServerError: If it ended instead, or was not ready within a minute.
        """
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the process, which lives no longer than the thread that starts it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                # The kernel ends the child when its parent is gone, even after `kill -9`.
                ["setpriv", "--pdeathsig", "KILL", *self.command],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Return when the process is ready.

        Raises:
            ServerError: If it ended instead, or was not ready within a minute.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not answers(self.ready_url):
            if self.pid is None:
                raise ServerError(f"{self.name} ended while it started; {self.log}:\n{self.tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.name} was not ready after {READY_SECONDS:.0f} s; {self.log}:\n{self.tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask the process to end, and kill it if it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the process at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def freeze(self) -> None:
        """Stop the process where it is, as a hung machine would, until `thaw`."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def answers(url: str) -> bool:
    """Return whether `url` answers 200 now, or somebody listens where it is `tcp://`."""
    address = urlsplit(url)
    try:
        if address.scheme == "tcp":
            socket.create_connection((address.hostname, address.port), 2).close()
            return True
        with urllib.request.urlopen(url, timeout=2, context=_unverified()) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def free_ports(count: int) -> list[int]:
    """Return `count` different loopback ports that nothing listens on.

    A connection out could take a port of the kernel's own choice while its server is down, so these lie below.
    """
    return list(itertools.islice(filter(_is_free, random.sample(range(10_000, 32_000), 1000)), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
