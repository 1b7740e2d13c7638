"""Build the control plane and the operators that the cluster tests run, from their Go modules.

    python -m tests.cluster.binaries            build what is missing
    python -m tests.cluster.binaries --list     say what is built and what a build would take; exit 3 if tests lack one
    python -m tests.cluster.binaries --check    build, then start everything once and prove that it works

Each upstream module is built from a scratch module of ours that requires it at one version and repeats its `replace`
directives, which count only in a main module. The binaries land in a cache outside the tree, named by the versions.
Go's own caches make a broken-off build resume where it stopped, and a finished binary is never built again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import database, sandbox, services
from tests.cluster.modules import KATIB_MODULE, KATIB_SERVERS, MODULES, NEEDED, RELEASES, Binary, Module

ENVTEST_ASSETS = ("etcd", "kube-apiserver")
"""Binaries taken from `KUBEBUILDER_ASSETS` where that is set."""

KATIB = (*KATIB_SERVERS, services.NAME, database.NAME, sandbox.NAME)
"""Everything that a real Katib needs of this machine."""

BOUND_MINUTES = 45
DOWNLOAD_MINUTES = 5
SOURCE = "source"
"""Where a module that is built from a copy has it, below its scratch module."""

SERVICES_MINUTES = 10
_REASONS = "left-out.json"
PATIENCE = 5
"""How many times its expected minutes one build may take: slower machines, and this one when it is busy."""


class BuildError(Exception):
    """A binary could not be built; the message says why and where the log is."""


def default_cache() -> Path:
    """Return the folder of the binaries, named by the versions that they are built from."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "hyperflow" / "cluster" / RELEASES


def find(name: str, cache: Path) -> Path | None:
    """Return the executable called `name`, from `KUBEBUILDER_ASSETS` or the cache, or None."""
    if name == services.NAME and not services.is_whole(cache):
        return None
    places = [cache / "bin"]
    if name in ENVTEST_ASSETS and (assets := os.environ.get("KUBEBUILDER_ASSETS")):
        places.insert(0, Path(assets))
    return next((place / name for place in places if os.access(place / name, os.X_OK)), None)


def missing(cache: Path) -> dict[str, str]:
    """Return why each binary that is not there was left out by the last build, by name."""
    reasons: dict[str, str] = {}
    if (cache / _REASONS).exists():
        reasons = json.loads((cache / _REASONS).read_text())
    names = [*(binary.name for module in MODULES for binary in module.binaries), services.NAME]
    unbuilt = {name: reasons.get(name, "nobody has built it yet") for name in names if find(name, cache) is None}
    return unbuilt | {name: why for name, why in _not_here().items() if why}


def _not_here() -> dict[str, str]:
    """Return why what no build can give us is missing from this machine, or nothing, by name."""
    server = "" if database.program("postgres") else "PostgreSQL is not installed (Debian's package: postgresql)"
    return {database.NAME: server, sandbox.NAME: sandbox.why_not()}


def go_command() -> str:
    """Return the `go` command: the one on PATH, else where distributions and Go's own archive put it."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if found is None:
        raise BuildError("Go is not installed. Install Go 1.25.8 or newer, or set KUBECONFIG to a test cluster.")
    return found


def build_all(cache: Path, minutes: float = BOUND_MINUTES) -> dict[str, str]:
    """Build every missing binary within `minutes` and return why the others were left out, by name."""
    deadline = time.monotonic() + minutes * 60
    left_out: dict[str, str] = {}
    for module in MODULES:
        wanted = [binary for binary in module.binaries if find(binary.name, cache) is None]
        if not wanted:
            continue
        try:
            scratch = _scratch_module(module, cache, deadline)
        except BuildError as error:
            left_out.update({binary.name: str(error) for binary in wanted})
            continue
        for binary in wanted:
            try:
                _build(binary, scratch, cache, deadline)
            except BuildError as error:
                left_out[binary.name] = str(error)
    return left_out | _build_services(cache, deadline)


def _build_services(cache: Path, deadline: float) -> dict[str, str]:
    """Set up Katib's Python services; return why they were left out, by name."""
    if find(services.NAME, cache) is not None:
        return {}
    deadline = _within(SERVICES_MINUTES, deadline)
    try:
        module = _go(["mod", "download", "-json", f"{KATIB_MODULE.path}@v{KATIB_MODULE.version}"], cache, deadline)
        with _timed(f"{services.NAME}: set up"):
            services.build(Path(json.loads(module)["Dir"]), cache, deadline)
    except (BuildError, services.ServicesError) as error:
        return {services.NAME: str(error)}
    return {}


def _within(minutes: float, deadline: float) -> float:
    return min(time.monotonic() + minutes * 60, deadline)


def _scratch_module(module: Module, cache: Path, deadline: float) -> Path:
    """Write the main module that `module` is built from, once, and return its folder."""
    deadline = _within(DOWNLOAD_MINUTES, deadline)
    folder = cache / "modules" / module.name
    if (folder / "go.mod").exists():
        return folder
    _say(f"{module.path} v{module.version}: download")
    with _timed(f"{module.path} v{module.version}: downloaded"):
        source = json.loads(_go(["mod", "download", "-json", f"{module.path}@v{module.version}"], cache, deadline))
    upstream = json.loads(_go(["mod", "edit", "-json", source["GoMod"]], cache, deadline))
    _copy_crds(module, Path(source["Dir"]), cache)
    folder.mkdir(parents=True, exist_ok=True)
    if module.links:
        _copy_source(module, Path(source["Dir"]), folder / SOURCE)
    _write_whole(folder / "go.mod", _go_mod(module, upstream))
    return folder


def _copy_source(module: Module, source: Path, target: Path) -> None:
    """Copy a module and give it the links that its archive lacks; Go lets nobody add to its own copy."""
    for path in filter(Path.is_file, source.rglob("*")):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    for link, name in module.links:
        (target / link).symlink_to(name)


def _copy_crds(module: Module, source: Path, cache: Path) -> None:
    """Copy the module's CRDs beside the binaries: its controllers want more of them than its users do."""
    for path in (path for pattern in module.crds for path in source.glob(pattern)):
        (cache / "crds").mkdir(parents=True, exist_ok=True)
        _write_whole(cache / "crds" / path.name, path.read_text())


def _go_mod(module: Module, upstream: dict[str, Any]) -> str:
    """Return a go.mod that selects the same releases as `upstream` does when it is the main module."""
    lines = [f"module hyperflow.test/{module.name}", "", f"go {upstream['Go']}", ""]
    lines += [f"require {module.path} v{module.version}", ""]
    for replace in upstream.get("Replace") or []:
        old, new = replace["Old"], replace["New"]
        # Folders of the upstream repository are not in the module; those of Kubernetes are released beside it.
        target = f"{new['Path']} {new['Version']}" if "Version" in new else f"{old['Path']} {module.beside}"
        lines.append(f"replace {' '.join(filter(None, (old['Path'], old.get('Version'))))} => {target}")
    if module.links:
        lines.append(f"replace {module.path} => ./{SOURCE}")
    return "\n".join(lines) + "\n"


def _build(binary: Binary, scratch: Path, cache: Path, deadline: float) -> None:
    """Build one binary; it appears whole or not at all."""
    deadline = _within(binary.minutes * PATIENCE, deadline)
    _say(f"{binary.name}: build, about {binary.minutes:g} min with nothing cached")
    target = cache / "bin" / binary.name
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    with _timed(f"{binary.name}: built"):
        arguments = ["build", "-p", "2", "-trimpath", "-ldflags", f"-s -w {binary.ldflags}".strip()]
        _go([*arguments, "-o", str(part), binary.package], cache, deadline, folder=scratch, log=binary.name)
    part.replace(target)


def _go(
    arguments: Sequence[str], cache: Path, deadline: float, folder: Path | None = None, log: str = "download"
) -> str:
    """Run `go` at low priority until `deadline` and return its output; its messages go to the log."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise BuildError("no time was left")
    path = cache / "logs" / f"{log}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Distributions ship a Go that is not to fetch a newer one; the modules ask for theirs.
    own = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false", "GOWORK": "off", "GOTOOLCHAIN": "auto"}
    environment = os.environ | own
    with path.open("wb") as errors:
        process = subprocess.Popen(
            ["nice", "-n", "15", go_command(), *arguments],
            cwd=folder or cache,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=left)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise BuildError(f"not done within its time; log: {path}") from error
            raise
    if process.returncode:
        raise BuildError(f"{_reason(output, path)}; log: {path}")
    return output.decode()


def _reason(output: bytes, log: Path) -> str:
    """Return why go failed: the error in its JSON answer, else the last line that it wrote."""
    try:
        return str(json.loads(output)["Error"])
    except (ValueError, KeyError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "go failed without a message"


def _write_whole(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    _say(f"{what} in {time.monotonic() - start:.0f} s")


def _say(text: str) -> None:
    print(f"[binaries] {text}", flush=True)


def _list(cache: Path) -> None:
    _say(f"cache: {cache}")
    for module in MODULES:
        for binary in module.binaries:
            path = find(binary.name, cache)
            state = f"{path.stat().st_size / 2**20:.0f} MiB" if path else f"missing, about {binary.minutes:g} min"
            _say(f"{binary.name:28} {module.path} v{module.version}: {state}")
    _say(f"{services.NAME}: {'there' if find(services.NAME, cache) else 'missing, about 2 min'}")
    for name, why in _not_here().items():
        _say(f"{name}: {why or 'there'}")


def main() -> int:
    """Build, list or check; exit 0 when every binary is there, 3 when some had to be left out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of the binaries")
    parser.add_argument("--minutes", type=float, default=BOUND_MINUTES, help="bound on the whole build")
    parser.add_argument("--list", action="store_true", help="only say what is there")
    parser.add_argument("--check", action="store_true", help="build, then start everything and prove that it works")
    options = parser.parse_args()
    # Ended from outside, it ends the build that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options.cache.mkdir(parents=True, exist_ok=True)
    if options.list:
        _list(options.cache)
        return 3 if set(missing(options.cache)) & {*NEEDED, *KATIB} else 0
    left_out = build_all(options.cache, options.minutes)
    _write_whole(options.cache / _REASONS, json.dumps(left_out))
    _list(options.cache)
    for why, names in by_reason(left_out).items():
        _say(f"LEFT OUT: {', '.join(names)}: {why}")
    if options.check:
        from tests.cluster.check import check_all

        check_all(options.cache)
    return 3 if left_out else 0


def by_reason(left_out: dict[str, str]) -> dict[str, list[str]]:
    """Return the names of what was left out for the same reason."""
    return {why: [name for name in left_out if left_out[name] == why] for why in left_out.values()}


if __name__ == "__main__":
    sys.exit(main())
