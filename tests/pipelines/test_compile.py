"""The compiled YAML: current, free of TensorFlow, and with the Kubernetes side in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def compile_py(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "compile.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module", params=["train_and_serve", "retrain"])
def pipeline(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    specification, platform = yaml.safe_load_all((ROOT / "build" / f"{request.param}.yaml").read_text())
    return specification, platform


def tasks(specification: dict[str, Any]) -> dict[str, Any]:
    """Return the tasks that run a container, however deep they are nested."""
    components = specification["components"]
    found = dict(specification["root"]["dag"]["tasks"])
    for component in components.values():
        found.update(component.get("dag", {}).get("tasks", {}))
    return {name: task for name, task in found.items() if "executorLabel" in components[task["componentRef"]["name"]]}


def test_build_is_current() -> None:
    checked = compile_py("--check")
    assert checked.returncode == 0, checked.stderr


def test_drift_is_found(tmp_path: Path) -> None:
    compile_py("--output", str(tmp_path))
    path = tmp_path / "train_and_serve.yaml"
    path.write_text(path.read_text().replace("train-and-serve", "something-else"))
    (tmp_path / "components" / "tune.yaml").unlink()
    checked = compile_py("--check", "--output", str(tmp_path))
    assert checked.returncode == 1
    assert "train_and_serve.yaml is not what the source compiles to" in checked.stderr
    assert "tune.yaml is missing" in checked.stderr


def test_image_is_the_users_and_git_does_not_track_what_names_it(tmp_path: Path) -> None:
    digest = "registry.example/team/steps@sha256:" + "0" * 64
    for name in ("pipelines", "components"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "compile.py", tmp_path)
    compile_py("--image", digest, "--model-image", "registry.example/team/model:7", folder=tmp_path)
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["own"]
    assert "build/own/" in (ROOT / ".gitignore").read_text().splitlines()
    specification = next(yaml.safe_load_all((tmp_path / "build" / "own" / "train_and_serve.yaml").read_text()))
    executors = specification["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {digest}
    parameters = specification["root"]["inputDefinitions"]["parameters"]
    assert parameters["trainer_image"]["defaultValue"] == "registry.example/team/model:7"


@pytest.mark.parametrize(
    "statement", ["import hyperflow", "import compile as c; c.compile_all(__import__('pathlib').Path('{}'))"]
)
def test_tensorflow_is_never_imported(statement: str, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, ''); {statement.format(tmp_path)}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=False).returncode == 0


def test_no_step_is_cached(pipeline: tuple[dict[str, Any], Any]) -> None:
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks(pipeline[0]).values())


def test_every_step_mounts_the_claim_and_leaves_its_user_to_the_image(pipeline: tuple[Any, dict[str, Any]]) -> None:
    executors = pipeline[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(executors) == (12 if "exec-plan" in executors else 7)
    for executor in executors.values():
        (mount,) = executor["pvcMount"]
        assert mount["mountPath"] == "/mnt/hyperflow"
        assert "claim" in mount["pvcNameParameter"]["componentInputParameter"]
        assert "securityContext" not in executor  # KFP 2.14 and 2.15 would refuse the whole file


def test_every_step_has_limits_and_retries(pipeline: tuple[dict[str, Any], Any]) -> None:
    executors, components = pipeline[0]["deploymentSpec"]["executors"], pipeline[0]["components"]
    for task in tasks(pipeline[0]).values():
        assert task["retryPolicy"]["maxRetryCount"] >= 1
        label = components[task["componentRef"]["name"]]["executorLabel"]
        resources = executors[label]["container"]["resources"]
        for kind, parameter in (("Cpu", "step_cpu"), ("Memory", "step_memory")):
            given = f"pipelinechannel--{parameter}"
            assert resources[f"resource{kind}Limit"] == f"{{{{$.inputs.parameters['{given}']}}}}"
            assert task["inputs"]["parameters"][given]["componentInputParameter"] in (parameter, given)


def test_the_secrets_are_optional_files_of_the_steps_that_need_them(pipeline: tuple[Any, dict[str, Any]]) -> None:
    executors = pipeline[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in executors.items():
        assert "secretAsEnv" not in executor
        mounted = {each["secretName"] for each in executor.get("secretAsVolume", [])}
        assert all(each["optional"] for each in executor.get("secretAsVolume", []))
        step = name.removeprefix("exec-").rstrip("-23")
        asking = {"hyperflow-access"} if step in ("plan", "decide", "deploy", "predict") else set()
        loading = {"hyperflow-data-source"} if step == "load-data" else set()
        assert mounted == {"hyperflow-mlflow"} | asking | loading


def test_check_alone_is_told_of_servers_beside_the_run_and_keeps_that_for_all(
    pipeline: tuple[dict[str, Any], Any],
) -> None:
    for parameter in ("tracking_uri", "model_registry"):
        assert pipeline[0]["root"]["inputDefinitions"]["parameters"][parameter]["defaultValue"] == ""
        steps = {name for name, task in tasks(pipeline[0]).items() if parameter in str(task["inputs"]["parameters"])}
        assert steps == {"check"}


def test_nothing_is_installed_at_run_time(pipeline: tuple[dict[str, Any], Any]) -> None:
    for executor in pipeline[0]["deploymentSpec"]["executors"].values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_no_image_is_latest(pipeline: tuple[dict[str, Any], Any]) -> None:
    for executor in pipeline[0]["deploymentSpec"]["executors"].values():
        _, _, tag = executor["container"]["image"].partition(":")
        assert tag not in ("", "latest")


def test_deploy_and_predict_wait_for_a_yes(pipeline: tuple[dict[str, Any], Any]) -> None:
    dags = {name: item["dag"]["tasks"] for name, item in pipeline[0]["components"].items() if "dag" in item}
    dags["root"] = pipeline[0]["root"]["dag"]["tasks"]
    deciding = [tasks for tasks in dags.values() if any(name.startswith("decide") for name in tasks)]
    assert deciding
    for tasks in deciding:
        conditions = {
            task["componentRef"]["name"]: task["triggerPolicy"]["condition"]
            for task in tasks.values()
            if "triggerPolicy" in task
        }
        ((gated, _),) = [pair for pair in conditions.items() if "'deploy'" in pair[1]]
        assert {name.partition("-")[0] for name in dags[gated]} == {"deploy", "predict"}


def test_retries_last_as_long_as_the_longest_step(pipeline: tuple[dict[str, Any], Any]) -> None:
    """Argo counts the longest duration from the first attempt's start, attempts and waits included."""
    parameters = pipeline[0]["root"]["inputDefinitions"]["parameters"]
    longest = max(parameters[name]["defaultValue"] for name in ("tune_timeout", "train_timeout", "deploy_timeout"))
    for task in tasks(pipeline[0]).values():
        policy = task["retryPolicy"]
        waits = sum(seconds(policy["backoffDuration"]) * policy["backoffFactor"] ** attempt for attempt in range(2))
        attempts = 1 + policy["maxRetryCount"]
        assert seconds(policy["backoffMaxDuration"]) >= attempts * longest + waits


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
