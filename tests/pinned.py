"""Packages that a test needs and the environment has not, or not in that release: from PyPI by hash, in .cache/."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache" / "pinned"


class Unreachable(Exception):
    """The packages are not in the cache and could not be fetched."""


def install(requirements: Path) -> Path:
    """Return the folder with the packages that a hashed requirements file names, filled if need be.

    Raises:
        Unreachable: PyPI did not answer.
        ValueError: What it sent is not what the pins say.
    """
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:8]
    folder = CACHE / f"{requirements.parent.name}-{requirements.stem}-{digest}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as staging:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-build-isolation", "--require-hashes", "--requirement", str(requirements)]
        command += ["--target", f"{staging}/made"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if "DO NOT MATCH THE HASHES" in done.stderr:
            raise ValueError(done.stderr)
        if done.returncode:
            raise Unreachable(f"{requirements.name}: {done.stderr.strip().splitlines()[-1]}")
        os.rename(f"{staging}/made", folder)
    return folder
