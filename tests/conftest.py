"""What several folders of tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyperflow import volume

SMALL = Path(__file__).parent / "data" / "fashion-mnist-small"

WHOLE_PROGRAMS = ("runner", "images", "fashion", "browser", "cli")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders whose tests start whole programs, so that none of those is left over at the end."""
    folders = [Path(__file__).parent / name for name in WHOLE_PROGRAMS]
    items.sort(key=lambda item: not any(item.path.is_relative_to(folder) for folder in folders))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model: the tutorial's network after one epoch on the small data set."""
    root = tmp_path_factory.mktemp("trained")
    model = root / "models" / "1"
    environment = {**os.environ, volume.ENVIRONMENT: str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    load = "from hyperflow import datasets; import sys; print(datasets.load(sys.argv[1], 'small').path)"
    loaded = _run([sys.executable, "-c", load, str(SMALL)], environment)
    train = ["-m", "hyperflow.fashion.train", f"--data-path={loaded}", "--model=mlp", "--epochs=1"]
    _run([sys.executable, *train, f"--model-path={model}"], environment)
    return model.parent


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout.strip()
