"""Predictors as processes, as engines run them; TensorFlow is started once for all tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
NAME = "fashion"


class Predictor:
    """One running server."""

    def __init__(self, folder: Path, model_dir: Path, *arguments: str) -> None:
        self.control, self.log_file = folder / "control", folder / "log"
        ready = folder / "ready"
        words = [f"--model_name={NAME}", f"--model_dir={model_dir}", "--host=127.0.0.1", f"--ready_file={ready}"]
        words += [f"--control={self.control}", "--http_port=0", "--grpc_port=0", *arguments]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "hyperflow.serving", *words], stderr=log, stdout=log)
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)
        self.ports: dict[str, int] = json.loads(ready.read_text())
        self.port = self.ports["http_port"]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(35)


@pytest.fixture(scope="session", params=["onnx", "tensorflow"])
def model_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with an ONNX copy, then one without: every test that asks for it is for both runtimes."""
    from tests.serving import models

    folder = tmp_path_factory.mktemp(request.param)
    return models.save(models.Network(), folder, onnx_copy=request.param == "onnx")


@pytest.fixture(scope="session")
def predictor(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    """A server for whatever leaves it as it was."""
    running = Predictor(tmp_path_factory.mktemp("predictor"), model_dir)
    assert f'"platform":"{model_dir.name.rstrip("0123456789")}' in running.log
    yield running
    assert running.stop() == 0, running.log


@pytest.fixture(scope="session")
def images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(7).integers(0, 256, (40, 784), dtype=np.uint8)


@pytest.fixture(scope="session")
def expected(model_dir: Path, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """TensorFlow's own answers to the images."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model_dir / "1"))
    answer = loaded.signatures["serving_default"](flatten_input=tf.constant(images, tf.float32))
    return np.asarray(answer["probabilities"])
