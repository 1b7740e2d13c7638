"""What the documents' commands run in: a folder like a checkout, with stand-ins for programs, and a KFP API."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import pages, stand_in
from tests.pipelines.api import Api


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what a checkout has, and stand-ins for programs; what commands write stays in it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("compile.py", "examples", "manifests", "requirements", "components", "pipelines", "dist"):
        if (pages.ROOT / name).exists():
            (folder / name).symlink_to(pages.ROOT / name)
    shutil.copytree(pages.ROOT / "build", folder / "build", ignore=shutil.ignore_patterns("own"))
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").write_text("")
    programs = folder / "programs"
    programs.mkdir()
    python = shlex.quote(sys.executable)
    called = {name: f"{python} -m tests.docs.stand_in {name}" for name in stand_in.PROGRAMS}
    for name, command in {**called, "python": python}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
    return folder
