"""Run a program that cannot outlive the process that started it: `python guard.py <parent pid> program …`.

On Linux the kernel kills it when its parent ends, however the parent ends. Elsewhere only an
orderly end of the parent does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # linux/prctl.h
_ARGUMENTS = slice(45, 47)  # of /proc/self/stat behind the name: where in memory the command line starts and ends


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends; end at once if that has happened already."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def name_process(title: str) -> None:
    """Have `ps` and `top` show what a forked process does, in place of what it was forked from."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"hyperflow", 0, 0, 0)
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        start, end = (int(field) for field in file.read().rpartition(")")[2].split()[_ARGUMENTS])
    if start:
        size = end - start
        ctypes.memmove(start, title.encode()[: size - 1].ljust(size, b"\0"), size)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
