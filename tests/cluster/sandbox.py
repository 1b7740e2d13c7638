"""What the containers of one pod share where they see each other: processes of their own numbers, and mounts.

As in a real pod whose process namespace is shared, process 1 is a pause, and each container's first process has no
parent that it could see: Katib's metrics collector finds the trainer by that.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tests.cluster.processes import ServerError

NAME = "namespaces"
"""What reports call the lack of them."""

_MOUNTED_OVER = ("/var/log", "/run")
"""Folders of this machine that a sandbox has none of, so that mount points can be made in them."""

_PAUSE = """
for folder in $FOLDERS; do mount -t tmpfs tmpfs "$folder"; done
while [ $# -gt 1 ]; do mkdir -p "$2"; mount --bind "$1" "$2"; shift 2; done
echo ready
exec sleep infinity >/dev/null
"""


def is_mountable(path: str) -> bool:
    """Return whether a folder can be mounted at `path` in a sandbox; nothing of this machine is in its way there."""
    return Path(path).resolve().is_relative_to("/run") or Path(path).is_relative_to("/var/log")


class Sandbox:
    """Namespaces that end, with all that runs in them, when they are closed or the process that made them ends.

    Args:
        mounts: Folders by the path at which the sandbox has them.

    Raises:
        ServerError: This machine gives us no namespaces.
    """

    def __init__(self, mounts: Mapping[str, Path]) -> None:
        arguments = [str(word) for path, folder in mounts.items() for word in (folder, path)]
        self._own_user = os.geteuid() != 0
        # The kernel forgets whose death is to kill a process when that gets rights, so it is told after that.
        user = ["unshare", "--user", "--map-root-user"] if self._own_user else []
        self._process = subprocess.Popen(
            [*user, "setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--mount", "--fork", "--kill-child",
             "--mount-proc", "sh", "-euc", _PAUSE, "pause", *arguments],
            env={**os.environ, "FOLDERS": " ".join(_MOUNTED_OVER)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._process.stdout as output, self._process.stderr as errors:
            if output.readline() != "ready\n":
                self._process.wait()
                raise ServerError(f"no namespaces for a pod's processes: {errors.read().strip()}")
        (self._pause,) = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs a container's first process in the sandbox."""
        user = ["--user", "--preserve-credentials"] if self._own_user else []
        return ["nsenter", "--target", self._pause, *user, "--pid", "--mount", "--", *argv]

    def wait_until_in(self, pid: int) -> None:
        """Return when the command that runs as `pid` has its process in the sandbox, or has ended."""
        process = Path("/proc") / str(pid)
        with contextlib.suppress(OSError):
            while not (process / "task" / str(pid) / "children").read_text() and not _has_ended(process):
                time.sleep(0.005)

    def close(self) -> None:
        """End all processes."""
        self._process.kill()
        self._process.wait()


def _has_ended(process: Path) -> bool:
    return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"


@cache
def why_not() -> str:
    """Return why no sandbox can be made on this machine, or nothing."""
    try:
        Sandbox({}).close()
    except (ServerError, OSError) as error:
        return str(error)
    return ""
