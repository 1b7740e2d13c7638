"""The images, built as `make images` builds them, and run as a cluster runs them: nobody's user, no right, no disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hyperflow.volume import MOUNT_PATH

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "data" / "fashion-mnist-small"
TARGETS = ("steps", "model", "serve", "local", "demo")
RESTRICTED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--tmpfs=/tmp", "--network=host")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, saying why, what needs containers where they are not asked for or cannot be had."""
    reason = "" if tool() else "there is neither docker nor podman here: set CONTAINER_TOOL"
    if "images" not in config.getoption("markexpr"):
        reason = "images take minutes to build: make image-test"
    for item in items:
        if reason and item.get_closest_marker("images"):
            item.add_marker(pytest.mark.skip(reason=reason))


def tool() -> str:
    """Name what builds and runs containers here; buildah builds them only."""
    return os.environ.get("CONTAINER_TOOL") or shutil.which("docker") or shutil.which("podman") or ""


@dataclass(frozen=True)
class Images:
    """The built images."""

    tool: str

    def reference(self, target: str) -> str:
        return f"localhost/hyperflow-{target}:test"

    def command(
        self, target: str, argv: Sequence[str], mounts: Mapping[Path, str], environment: Mapping[str, str]
    ) -> list[str]:
        options = [f"--volume={source}:{place}" for source, place in mounts.items()]
        options += [f"--env={name}={value}" for name, value in environment.items()]
        return [self.tool, "run", "--rm", *RESTRICTED, *options, self.reference(target), *argv]

    def run(self, target: str, *argv: str, mounts: Mapping[Path, str] | None = None, **environment: str) -> str:
        """Run a program to its good end and return what it printed."""
        command = self.command(target, argv, mounts or {}, environment)
        ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def start(
        self, target: str, *argv: str, mounts: Mapping[Path, str] | None = None, name: str = "", **environment: str
    ) -> subprocess.Popen[str]:
        """Start a program; one with a name can be told to stop."""
        command = self.command(target, argv, mounts or {}, environment)
        command[2:2] = [f"--name={name}"] if name else []
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def stop(self, name: str) -> None:
        """Send SIGTERM, as the kubelet does."""
        subprocess.run([self.tool, "stop", "--time=40", name], check=True, stdout=subprocess.DEVNULL)

    def inspect(self, target: str) -> dict[str, Any]:
        command = [self.tool, "image", "inspect", self.reference(target)]
        answer: list[dict[str, Any]] = json.loads(subprocess.check_output(command, text=True))
        return answer[0]

    def history(self, target: str) -> str:
        """Return the command of every layer, as anyone who pulls the image can read it."""
        command = [self.tool, "history", "--no-trunc", "--format={{.CreatedBy}}", self.reference(target)]
        return subprocess.check_output(command, text=True)


@pytest.fixture(scope="session")
def images() -> Images:
    """What `make image-test` has built."""
    return Images(tool())


@pytest.fixture(scope="session")
def volume(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the images' user may write, as the prepared claim is, with a small data set on it."""
    folder = writable(tmp_path_factory.mktemp("claim") / "volume")
    program = "from hyperflow import datasets; print(datasets.load('/mnt/source', 'small').path)"
    mounts = {folder: MOUNT_PATH, SMALL: "/mnt/source:ro"}
    assert images.run("steps", "python", "-c", program, mounts=mounts).startswith(f"{MOUNT_PATH}/data/small/")
    return folder


@pytest.fixture(scope="session")
def data_path(volume: Path) -> str:
    """The data set's folder, as containers see it."""
    (path,) = (volume / "data" / "small").iterdir()
    return f"{MOUNT_PATH}/data/small/{path.name}"


def writable(folder: Path) -> Path:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    return folder
