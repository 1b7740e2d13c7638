"""Fetch Fashion-MNIST into a folder, without root, from the system's package archive or its publisher."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hyperflow import volume
from hyperflow.datasets import fashion_mnist, sources
from hyperflow.datasets.files import FILES, Found
from hyperflow.errors import DataError, Unavailable

PACKAGE = "dataset-fashion-mnist"

_SECONDS = 600


def fetch(cache: Path) -> Path:
    """Return a folder with the four published files: the cache, the system's, or the cache newly filled.

    Raises:
        DataError: Nowhere could they be got, or what was got is damaged.
        Unavailable: The cache cannot be written.
    """
    for folder in (cache, sources.SYSTEM_FOLDER):
        if folder.is_dir():
            _check(sources.read_folder(str(folder)))
            return folder
    try:
        return fetch_debian(cache)
    except Unavailable as error:
        package_failed = error
    try:
        return _keep(sources.read_folder(sources.OFFICIAL_URL), cache)
    except DataError as error:
        remedy = f"give a folder or URL that has the files in {sources.ENVIRONMENT}, or connect to the network"
        why = f"{package_failed.what}: {package_failed.why}\n{error.what}: {error.why}"
        raise DataError("Fashion-MNIST cannot be fetched", why, remedy) from error


def fetch_debian(cache: Path) -> Path:
    """Fill the cache from the Debian or Ubuntu package, which is downloaded but not installed.

    Raises:
        Unavailable: There is no apt here, or it has no such package, or the cache cannot be written.
        DataError: The package's files are not the published ones.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable(f"the package {PACKAGE} cannot be fetched", "there is no apt-get and dpkg-deb here")
    with tempfile.TemporaryDirectory(prefix="hyperflow-") as name:
        folder = Path(name)
        _run(["dpkg-deb", "--extract", str(_download(folder)), str(folder / "unpacked")], folder)
        unpacked = folder / "unpacked" / sources.SYSTEM_FOLDER.relative_to("/")
        return _keep(sources.read_folder(str(unpacked)), cache)


def _download(folder: Path) -> Path:
    """Download the package, with package lists of our own if the system's lack it."""
    private = _private_lists(folder)
    try:
        _run(["apt-get", "--quiet", *private[:2], "download", PACKAGE], folder)
    except Unavailable:
        _run(["apt-get", "--quiet", *private, "update"], folder)
        _run(["apt-get", "--quiet", *private, "download", PACKAGE], folder)
    package = next(iter(folder.glob(f"{PACKAGE}_*.deb")), None)
    if package is None:
        raise Unavailable(f"the package {PACKAGE} cannot be fetched", "apt-get ended well but left no file")
    return package


def _private_lists(folder: Path) -> list[str]:
    """Options that let apt-get work for any user and leave the system's lists alone."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    sandbox = ["-o", f"APT::Sandbox::User={'root' if os.getuid() == 0 else ''}"]
    return [*sandbox, "-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(
            command, cwd=folder, check=True, timeout=_SECONDS, text=True, stdin=subprocess.DEVNULL, capture_output=True
        )
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"`{' '.join(command)}` failed", error.stderr.strip()[-2000:]) from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"`{' '.join(command)}` failed", f"it ran for {_SECONDS} seconds") from error


def _check(found: Found) -> Mapping[str, bytes]:
    """Return the files in their published form, each checked."""
    files = {}
    for stem, (name, content) in zip(FILES, found.files.items(), strict=True):
        fashion_mnist.check(stem, content, f"{found.place}/{name}")
        files[f"{stem}.gz"] = fashion_mnist.canonical(stem, content)
    return files


def _keep(found: Found, cache: Path) -> Path:
    files = _check(found)
    with volume.staged(cache) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    return cache
