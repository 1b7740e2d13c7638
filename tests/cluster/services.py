"""Katib's suggestion and early-stopping services: Python files of its module, in a virtual environment of their own.

What they need excludes what we need, so nothing of it comes into our lock: config/katib-services.txt is theirs.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "config" / "katib-services.txt"
NAME = f"katib-services-{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:8]}"
"""The program that runs any of them: `katib-services-… suggestion/hyperopt ADDRESS`."""

_FILES = ("cmd/**/main.py", "pkg/**/*.py", "manifests/v1beta1/**/*.yaml")

_PROGRAM = """\
#!{python}
import sys
from pathlib import Path

ROOT = Path({root!r})
sys.path[:0] = map(str, (ROOT / "cmd" / sys.argv[1] / "v1beta1", ROOT, *ROOT.glob("pkg/apis/manager/*/python")))

import main

# Each listens on all addresses of its pod; here a pod has an address, but no network.
main.DEFAULT_PORT = main.DEFAULT_PORT.replace("0.0.0.0", sys.argv[2])
main.serve()
"""


def is_whole(cache: Path) -> bool:
    """Tell whether the program has what it runs: somebody may have copied or cleared a part of the cache."""
    program = cache / "bin" / NAME
    if not program.exists() or not (folder(cache) / "manifests").is_dir():
        return False
    return Path(program.read_text().splitlines()[0].removeprefix("#!")).exists()


class ServicesError(Exception):
    """The services could not be set up; the message says why."""


def folder(cache: Path) -> Path:
    """Return where files of Katib's module are: its Python packages, programs and manifests."""
    return cache / "katib"


def build(source: Path, cache: Path, deadline: float) -> None:
    """Copy the files of the module in `source` and make the environment; the program appears when all is there.

    Raises:
        ServicesError: A package cannot be had for this Python, or not in time.
    """
    for path in {path for pattern in _FILES for path in source.glob(pattern)}:
        target = folder(cache) / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    environment = cache / NAME
    _run([sys.executable, "-m", "venv", "--clear", str(environment)], deadline)
    python = environment / "bin" / "python"
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    _run([str(python), "-m", "pip", "install", "--quiet", *options, "-r", str(REQUIREMENTS)], deadline)
    part = cache / "bin" / f"{NAME}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(_PROGRAM.format(python=python, root=str(folder(cache))))
    part.chmod(0o755)
    part.replace(cache / "bin" / NAME)


def _run(command: list[str], deadline: float) -> None:
    try:
        done = subprocess.run(
            ["nice", "-n", "15", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=deadline - time.monotonic(),
        )
    except subprocess.TimeoutExpired as error:
        raise ServicesError("not done within its time") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ServicesError(lines[-1] if lines else f"{command[1:4]} ended with exit code {done.returncode}")
