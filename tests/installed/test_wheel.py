"""The wheel in an empty environment, outside a checkout: what somebody has who installs Hyperflow and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyperflow import __version__
from tests.runner.laptop import QUICK, ROOT

pytestmark = [pytest.mark.installed, pytest.mark.timeout(1200)]

EXTRAS = "local,serving,training"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both distributions, as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel and what it asks for, from PyPI."""
    environment = tmp_path_factory.mktemp("environment")
    (wheel,) = built.glob("*.whl")
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, "--clear", str(environment)], check=True, timeout=60)
    python = ["--python", str(environment / "bin" / "python")]
    subprocess.run([*uv, "pip", "install", *python, f"{wheel}[{EXTRAS}]"], check=True, timeout=900)
    return environment / "bin"


def call(program: Path, folder: Path, *words: str) -> str:
    """Run a program in a folder, with nothing of this checkout in its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"COLUMNS": "300", "PATH": f"{program.parent}:/usr/bin:/bin"}
    done = subprocess.run(
        [str(program), *words], cwd=folder, env=environment, text=True, capture_output=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_and_source_have_the_version_and_the_compiled_pipelines(built: Path) -> None:
    assert {path.name for path in built.iterdir()} == {
        f"hyperflow-{__version__}-py3-none-any.whl",
        f"hyperflow-{__version__}.tar.gz",
    }
    listed = subprocess.run(["tar", "-tzf", *built.glob("*.tar.gz")], check=True, capture_output=True, text=True).stdout
    assert {f"hyperflow-{__version__}/build/{name}.yaml" for name in ("train_and_serve", "retrain")} <= {
        *listed.split()
    }


def test_it_knows_its_version_and_its_parameters(installed: Path, tmp_path: Path) -> None:
    assert call(installed / "hyperflow", tmp_path, "--version").strip() == __version__
    assert "search_space" in call(installed / "hyperflow", tmp_path, "parameters")
    assert (installed.parent / "share" / "doc" / "hyperflow" / "errors.md").exists()


def test_it_goes_from_data_to_a_served_model(installed: Path, tmp_path: Path) -> None:
    settings = [word for value in QUICK for word in ("--set", value)]
    hyperflow = installed / "hyperflow"
    said = call(hyperflow, tmp_path, "run", "--run-id", "first", "--keep-serving", *settings)
    try:
        assert "deployed" in said
        assert "smoke test" in said
        assert (tmp_path / "volume" / "models" / "fashion-mnist" / "first" / "1" / "saved_model.pb").exists()
        assert "accuracy" in call(hyperflow, tmp_path, "predict", "--instances", "5")
    finally:
        assert "stopped fashion-mnist" in call(hyperflow, tmp_path, "stop")
