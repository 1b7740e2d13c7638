"""The steps' work in containers without rights: a data set loaded, a search, a training by two, a model served."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from docker.types import Mount
from kfp import components, local

from hyperflow import metrics
from hyperflow.volume import MODEL_VERSION, MOUNT_PATH
from hyperflow.volume.paths import EVALUATION
from tests.images.conftest import ROOT, SMALL, Images, writable

pytestmark = pytest.mark.images

ZEROS = json.dumps({"instances": [{"flatten_input": [0] * 784}]}).encode()


@pytest.fixture(scope="module")
def model(images: Images, volume: Path, data_path: str) -> Path:
    """Train with two containers, which find each other by TF_CONFIG as a TFJob's pods do."""
    cluster = {"chief": [f"127.0.0.1:{free_port()}"], "worker": [f"127.0.0.1:{free_port()}"]}
    flags = [f"--data-path={data_path}", "--epochs=2", "--model=mlp", f"--model-path={MOUNT_PATH}/models/two/1"]
    running = [
        images.start(
            "model", "python", "-m", "hyperflow.fashion.train", *flags, mounts={volume: MOUNT_PATH},
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": role, "index": 0}}),
        )
        for role in cluster
    ]  # fmt: skip
    outputs = [process.communicate(timeout=200)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert all("test-accuracy=" in output for output in outputs)
    return volume / "models" / "two"


@pytest.mark.parametrize("target", ["model", "serve"])
def test_a_model_trained_by_two_containers_answers_the_first_request(images: Images, model: Path, target: str) -> None:
    evaluation = json.loads((model / "1" / "assets.extra" / "evaluation.json").read_text())
    assert evaluation["workers"] == 2
    assert_it_answers(images, model, target, "onnx")


def test_a_model_of_the_example_trainers_own_image_is_served(images: Images, volume: Path, data_path: str) -> None:
    """Its TensorFlow is another one than the predictor's."""
    folder = ROOT / "examples" / "own-trainer"
    command = [images.tool, "build", "--file", folder / "Containerfile", "--tag", images.reference("own"), folder]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    flags = [f"--data-path={data_path}", "--epochs=2", "--units=16", f"--model-path={MOUNT_PATH}/models/own/1"]
    (volume / "models" / "own").mkdir(parents=True, mode=0o777, exist_ok=True)
    (volume / "models" / "own").chmod(0o777)
    printed = images.run("own", "python", "/app/train.py", *flags, mounts={volume: MOUNT_PATH})
    assert metrics.latest(printed.splitlines()).keys() >= {"epoch", "validation-accuracy", "test-accuracy"}
    assert_it_answers(images, volume / "models" / "own")


def test_the_derived_image_reads_what_the_steps_image_does_not(images: Images) -> None:
    folder = ROOT / "examples" / "cloud-data"
    steps = f"STEPS_IMAGE={images.reference('steps')}"
    command = [images.tool, "build", "--file", folder / "Containerfile", "--build-arg", steps]
    command += ["--tag", images.reference("cloud"), folder]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    program = "import s3fs, gcsfs, hyperflow.steps, kfp; print('well')"
    assert images.run("cloud", "python", "-c", program) == "well\n"


def assert_it_answers(images: Images, model: Path, target: str = "model", platform: str = "tensorflow") -> None:
    port = free_port()
    words = ["--model_name=fashion-mnist", "--model_dir=/mnt/models", f"--http_port={port}", "--grpc_port=0"]
    name, mounts = f"hyperflow-predictor-{port}", {model: "/mnt/models:ro"}
    server = images.start(target, "python", "-m", "hyperflow.serving", *words, mounts=mounts, name=name)
    try:
        # curl's own content type, which urllib sends as well: application/x-www-form-urlencoded
        answer = until_answered(f"http://127.0.0.1:{port}/v1/models/fashion-mnist:predict", ZEROS, server)
    finally:
        images.stop(name)
        printed, _ = server.communicate(timeout=60)
    (probabilities,) = answer["predictions"]
    assert len(probabilities) == 10
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert server.returncode == 0, printed
    assert f'"platform":"{platform}' in printed


def test_compiled_steps_run_in_kfps_own_docker_runner(images: Images, compiled: Compiled, docker_runner: Path) -> None:
    """Load the data in the steps' image; search and train, by two, where there is an engine without a cluster."""
    loaded = compiled.run("steps", "load_data", data_source="/mnt/source", dataset="small")
    data = {"data_path": loaded["data_path"], "dataset": "small"}
    tuned = compiled.run("local", "tune", **data, max_trials=2, parallel_trials=1, trial_arguments={})
    assert set(tuned["best_parameters"]) == {"learning_rate", "dropout_rate"}
    trained = compiled.run(
        "local", "train", **data, best_parameters=tuned["best_parameters"], tuned=True, epochs=2, workers=2
    )
    assert trained["accuracy"] > 0.3
    (evaluation,) = docker_runner.glob(f"models/*/docker/{MODEL_VERSION}/{EVALUATION}")
    assert json.loads(evaluation.read_text())["workers"] == 2
    (page,) = docker_runner.parent.glob("root/**/training")
    assert "<svg" in page.read_text() or "image/svg" in page.read_text()


class Compiled:
    """Components as `compile.py --image` writes them."""

    def __init__(self, images: Images, folder: Path) -> None:
        self._folder = folder
        for target in ("steps", "local"):
            command = [sys.executable, "compile.py", "--image", images.reference(target), "--output", folder / target]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        with (folder / "steps" / "train_and_serve.yaml").open() as file:
            declared = next(yaml.safe_load_all(file))["root"]["inputDefinitions"]["parameters"]
        self._defaults = {name: default(entry) for name, entry in declared.items()}

    def run(self, target: str, name: str, **given: Any) -> dict[str, Any]:
        component = components.load_component_from_file(str(self._folder / target / "components" / f"{name}.yaml"))
        values = {**self._defaults, "trainer_arguments": {"model": "mlp"}, **given, "run_id": "docker"}
        outputs: dict[str, Any] = component(**{key: values[key] for key in component.component_spec.inputs}).outputs
        return outputs


def default(entry: dict[str, Any]) -> Any:
    """Read a compiled default; YAML has whole numbers as 0.0."""
    return int(entry["defaultValue"]) if entry["parameterType"] == "NUMBER_INTEGER" else entry["defaultValue"]


@pytest.fixture(scope="module")
def compiled(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return Compiled(images, tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def docker_runner(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have kfp.local run steps in containers, by Docker's socket or by one that podman opens; give the volume."""
    claim, root = writable(tmp_path / "volume"), writable(tmp_path / "root")
    mask = os.umask(0)  # kfp makes a folder for each step, which the step's user fills
    service = None
    if "podman" in subprocess.check_output([images.tool, "--version"], text=True):
        address = f"unix://{tmp_path}/podman.sock"
        command = [images.tool, "system", "service", "--time=0", address]
        service = subprocess.Popen(command, start_new_session=True)
        monkeypatch.setenv("DOCKER_HOST", address)
        wait_for(Path(f"{tmp_path}/podman.sock").exists)
    mounts = [
        Mount(MOUNT_PATH, str(claim), type="bind"),
        Mount("/mnt/source", str(SMALL), type="bind", read_only=True),
    ]
    runner = local.DockerRunner(
        read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges"], tmpfs={"/tmp": ""}, network_mode="host",
        mounts=mounts, environment={"HYPERFLOW_ENGINE": "local"},
    )  # fmt: skip
    local.init(runner, pipeline_root=str(root))
    try:
        docker.from_env().ping()
        yield claim
    finally:
        os.umask(mask)
        if service:
            os.killpg(service.pid, signal.SIGTERM)
            service.wait()


def until_answered(url: str, body: bytes, server: subprocess.Popen[str]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, body, timeout=10) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.URLError:
            assert server.poll() is None, server.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
