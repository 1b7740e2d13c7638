"""Run a program as a container does: `python rootfs.py SPEC`, with mounts, a root and process numbers of its own.

SPEC is a JSON file: `argv`, `env`, `folder` to start in, `root` (an empty folder), `mounts` (path inside to path
outside) and `pid_file`, where the program's number outside is written. Its root is this machine's, with the mounts
laid over it; a mount hides what was below it, but for the paths in `image`. The program has number 1 inside, so that it
dies of no signal that it does not handle, and all that it started dies with it. This process gives it SIGTERM on, and
ends as it does, with 128 and the signal's number where that was a signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NEW_MOUNTS, _NEW_USERS, _NEW_PIDS = 0x00020000, 0x10000000, 0x20000000
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_PARENT_DEATH_SIGNAL = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(spec: Mapping[str, Any]) -> int:
    """Run the program to its end and return its exit code."""
    _enter_namespaces()
    _die_with_parent()
    child = os.fork()
    if child == 0:
        _die_with_parent()
        _become(spec)
    signal.signal(signal.SIGTERM, lambda number, _: _pass_on(child, number))
    Path(spec["pid_file"]).write_text(str(child))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _become(spec: Mapping[str, Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        _build_root(Path(spec["root"]), {os.path.realpath(at): source for at, source in spec["mounts"].items()})
        for path in spec["image"]:
            _show_again(Path(spec["root"]), path)
        os.chroot(spec["root"])
        os.chdir(spec["folder"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        print(f"cannot start {spec['argv'][0]}: {error}", file=sys.stderr, flush=True)
        os._exit(127)


def _enter_namespaces() -> None:
    user, group = os.getuid(), os.getgid()
    if user == 0:
        _check(_LIBC.unshare(_NEW_MOUNTS | _NEW_PIDS), "unshare")
    else:
        _check(_LIBC.unshare(_NEW_USERS | _NEW_MOUNTS | _NEW_PIDS), "unshare")
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    _mount("none", "/", flags=_RECURSIVE | _PRIVATE)


def _build_root(root: Path, mounts: Mapping[str, str]) -> None:
    _mount("tmpfs", str(root), "tmpfs")
    _lay(Path("/"), root, {Path(at).parts[1:]: source for at, source in mounts.items()})
    try:
        _mount("proc", str(root / "proc"), "proc")
    except OSError:
        _mount("/proc", str(root / "proc"), flags=_BIND | _RECURSIVE)  # a container around us may forbid a fresh one


def _lay(outside: Path, inside: Path, mounts: Mapping[tuple[str, ...], str]) -> None:
    """Show a folder inside, with mounts in it: what lies on the way to one is rebuilt, all else is bound as it is."""
    names = set(os.listdir(outside)) if outside.is_dir() else set()
    for name in sorted(names | {parts[0] for parts in mounts}):
        below = {parts[1:]: source for parts, source in mounts.items() if parts[0] == name}
        source, target = outside / name, inside / name
        if () in below:
            _bind(Path(below[()]), target)
        elif below or (outside == Path("/") and name == "proc"):
            target.mkdir(exist_ok=True)
            if below:
                _lay(source, target, below)
        elif source.is_symlink():
            target.symlink_to(os.readlink(source))
        elif source.exists():
            _bind(source, target)


def _show_again(root: Path, path: str) -> None:
    """Show a path of the image that a mount has hidden."""
    target = root / path.lstrip("/")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _bind(Path(path), target)


def _bind(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    _mount(str(source), str(target), flags=_BIND | _RECURSIVE)


def _mount(source: str, target: str, kind: str = "", flags: int = 0) -> None:
    _check(_LIBC.mount(source.encode(), target.encode(), kind.encode() or None, flags, None), f"mount {target}")


def _die_with_parent() -> None:
    _check(_LIBC.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL), "prctl")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        _enter_namespaces()  # to see whether we may
    else:
        sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
