"""The demo page's pod: its image with its manifest's command and environment, asking a predictor's container."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
import yaml

from hyperflow.volume import ENVIRONMENT, MOUNT_PATH, cards
from tests.browser.client import ask, send, shown
from tests.images.conftest import ROOT, Images
from tests.images.test_work import ZEROS, free_port, until_answered

pytestmark = pytest.mark.images

DEPLOYMENT = ROOT / "manifests" / "demo" / "deployment.yaml"


@pytest.fixture(scope="module")
def model(images: Images, volume: Path, data_path: str) -> Path:
    """Train a model and put its card beside it, as the training step does."""
    words = ["python", "-m", "hyperflow.fashion.train", f"--data-path={data_path}", "--epochs=3", "--model=mlp"]
    path = f"{MOUNT_PATH}/models/fashion-mnist/demo-run/1"
    images.run("model", *words, f"--model-path={path}", mounts={volume: MOUNT_PATH})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENT, str(volume))
        cards.write("fashion-mnist", cards.Card("demo-run", "", "", {}, 0.75))
    return volume / "models" / "fashion-mnist" / "demo-run"


@contextmanager
def ended(images: Images, name: str, running: Popen[str]) -> Iterator[Popen[str]]:
    """Tell a container to end when the test does, and see that it ends well."""
    try:
        yield running
    finally:
        images.stop(name)
        printed, _ = running.communicate(timeout=60)
    assert running.returncode == 0, printed


@pytest.fixture
def predictor(images: Images, model: Path) -> Iterator[str]:
    """The base URL of a predictor in its container."""
    port = free_port()
    words = ["--model_name=fashion-mnist", "--model_dir=/mnt/models", f"--http_port={port}", "--enable_grpc=false"]
    name, mounts = f"hyperflow-predictor-{port}", {model: "/mnt/models:ro"}
    started = images.start("model", "python", "-m", "hyperflow.serving", *words, mounts=mounts, name=name)
    with ended(images, name, started) as running:
        until_answered(f"http://127.0.0.1:{port}/v1/models/fashion-mnist:predict", ZEROS, running)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page(images: Images, predictor: str, volume: Path) -> Iterator[str]:
    """The page's URL; the container is started as the manifest says, but for the port and whom it asks."""
    (container,) = yaml.safe_load(DEPLOYMENT.read_text())["spec"]["template"]["spec"]["containers"]
    port = free_port()
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    environment |= {"HYPERFLOW_PAGE_PORT": str(port), "HYPERFLOW_PREDICTOR_URL": predictor}
    environment |= {"HYPERFLOW_DATASET": "small", "HYPERFLOW_DATA_SOURCE": "none"}
    name, mounts = f"hyperflow-demo-{port}", {volume / "data": f"{MOUNT_PATH}/data:ro"}
    started = images.start("demo", *container["command"], mounts=mounts, name=name, **environment)
    with ended(images, name, started) as running:
        yield until_up(f"http://127.0.0.1:{port}", running)


def until_up(page: str, running: Popen[str]) -> str:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert ask(page, "GET", "/config")[0] == 200
            return page
        except OSError:
            assert running.poll() is None, running.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_the_page_shows_the_model_and_its_answers(page: str) -> None:
    card = shown(page, "card")
    assert all(part in card for part in ("models/fashion-mnist/demo-run", "75.0 %", "answers")), card
    assert shown(page, "images").count("data-index=") == 20
    answer = send(page, {"index": 0})
    assert "it is labelled" in answer
    assert answer.count('class="percent"') == 10
