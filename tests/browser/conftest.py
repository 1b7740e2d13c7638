"""The page in a browser: a real model behind a real predictor, asked by a real page, looked at by Chromium."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver

from hyperflow import demo, metrics, volume
from hyperflow.volume import cards

SMALL = Path(__file__).parents[1] / "data" / "fashion-mnist-small"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1100,900 --hide-scrollbars"
)
SCREENSHOTS = os.environ.get("HYPERFLOW_SCREENSHOTS", "")
"""Where to put screenshots, if anywhere; they are taken with the whole of Fashion-MNIST."""
DATASET, SOURCE, EPOCHS = ("fashion-mnist", "auto", 3) if SCREENSHOTS else ("small", str(SMALL), 6)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Program:
    """A program of ours, started as an operator would start it."""

    def __init__(self, log: Path, *words: str, **environment: str) -> None:
        self.log_file = log
        command = [sys.executable, "-m", *words]
        with log.open("wb") as output:
            merged = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
            self.process = subprocess.Popen(command, env=merged, stdout=output, stderr=output)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_for(self, sign: str) -> str:
        """Return the first line of the log with a sign in it."""
        deadline = time.monotonic() + 60
        while True:
            for line in self.log.splitlines(keepends=True):
                if sign in line and line.endswith("\n"):
                    return line.strip()
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(35)


@dataclass(frozen=True)
class World:
    """A volume with a data set, a model trained on it with its card, and the accuracy that its training printed."""

    root: Path
    model: Path
    accuracy: float


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("volume")
    model = root / "models" / "fashion-mnist" / "demo-run"
    environment = {**os.environ, volume.ENVIRONMENT: str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    load = "from hyperflow import datasets; import sys; print(datasets.load(*sys.argv[1:]).path)"
    loaded = _run([sys.executable, "-c", load, SOURCE, DATASET], environment)
    train = ["-m", "hyperflow.fashion.train", f"--data-path={loaded}", "--model=mlp", f"--epochs={EPOCHS}"]
    printed = _run([sys.executable, *train, f"--model-path={model / '1'}"], environment)
    world = World(root, model, metrics.latest(printed.splitlines())["test-accuracy"])
    write_card(world, "demo-run", world.accuracy)
    return world


def write_card(world: World, run_id: str, accuracy: float) -> None:
    """Put a card beside the model of a run, as the training step does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(volume.ENVIRONMENT, str(world.root))
        cards.write("fashion-mnist", cards.Card(run_id, "", "", {}, accuracy))


@contextmanager
def predictor_of(model: Path, folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a model, and give the predictor's URL."""
    ready = folder / "ready"
    words = ["--model_name=fashion-mnist", f"--model_dir={model}", "--host=127.0.0.1"]
    words += [f"--http_port={port}", "--enable_grpc=false", f"--ready_file={ready}"]
    running = Program(ready.with_name("log"), "hyperflow.serving", *words)
    deadline = time.monotonic() + 60
    while not ready.exists():
        assert running.process.poll() is None, running.log
        assert time.monotonic() < deadline, running.log
        time.sleep(0.05)
    yield f"http://127.0.0.1:{json.loads(ready.read_text())['http_port']}"
    assert running.stop() == 0, running.log


@pytest.fixture(scope="session")
def predictor(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the model's predictor."""
    with predictor_of(world.model, tmp_path_factory.mktemp("predictor")) as url:
        yield url


@pytest.fixture(scope="session")
def page(world: World, predictor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's URL."""
    with page_for(predictor, tmp_path_factory.mktemp("page"), world) as url:
        yield url


@pytest.fixture
def page_without_predictor(world: World, tmp_path: Path) -> Iterator[str]:
    """The URL of a page whose predictor is down."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with page_for(f"http://127.0.0.1:{port}", tmp_path, world) as url:
        yield url


@contextmanager
def page_for(predictor: str, folder: Path, world: World) -> Iterator[str]:
    """Run the page and give its URL; it must neither leave a file behind nor end badly."""
    private = folder / "private"
    private.mkdir()
    running = Program(
        folder / "log", "hyperflow", "demo", "--port=0", HYPERFLOW_PREDICTOR_URL=predictor, HYPERFLOW_DATASET=DATASET,
        HYPERFLOW_DATA_SOURCE="none", HYPERFLOW_VOLUME=str(world.root), TMPDIR=str(private),
    )  # fmt: skip
    yield running.wait_for("The page is at").split()[-1]
    assert running.stop() in (0, -signal.SIGTERM), running.log  # uvicorn ends in order, then dies of the signal
    assert str(Path(demo.__file__).parent) not in running.log  # as a traceback through our code would have it
    assert not [path for path in private.rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout.strip()
