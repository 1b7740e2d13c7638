"""What is in the images and, as much, what is not."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pip
import pytest

from tests.images.conftest import ROOT, TARGETS, Images

pytestmark = pytest.mark.images

MEGABYTES = {"steps": 600, "model": 2000, "serve": 350, "demo": 450}

LIST = """
import json, os, sys
paths = [os.path.join(folder, name) for folder, folders, names in os.walk("/") for name in folders + names
         if not folder.startswith(("/proc", "/sys", "/dev"))]
json.dump(paths, sys.stdout)
"""

SECRETS = r"""
import os, re, sys
key = rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{100,}"
secret = re.compile(key + rb"|(?<![\w+/])(AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36})(?![\w+/])")
for folder, folders, names in os.walk("/"):
    folders[:] = [name for name in folders if (folder, name) not in (("/", "proc"), ("/", "sys"), ("/", "dev"))]
    for path in (os.path.join(folder, name) for name in names):
        if os.path.isfile(path) and os.access(path, os.R_OK) and os.path.getsize(path) < 1_000_000:
            text = open(path, "rb").read()
            if b"\0" not in text and secret.search(text):
                print(path)
"""

INSTALLED = """
import importlib.metadata
for distribution in importlib.metadata.distributions():
    print(distribution.metadata["Name"], distribution.version)
"""

# What `pip check` says, and why it is well: docs/images.md explains each line.
EXPLAINED = {
    "steps": {
        "kubeflow-katib 0.19.0 has requirement kubeflow-training==1.9.0",
        "kubeflow-katib 0.19.0 has requirement protobuf<5",
        "kfp 2.17.0 requires google-cloud-storage, which is not installed.",
        "kserve 0.21.0 requires grpcio-tools, which is not installed.",
    },
    "demo": {"No broken requirements found."},
    "model": {
        "kserve 0.21.0 requires grpcio-tools, which is not installed.",
        "tensorflow-cpu 2.21.0 requires libclang, which is not installed.",
    },
}


@pytest.mark.parametrize("target", MEGABYTES)
def test_it_is_no_larger_than_it_may_be(images: Images, target: str) -> None:
    assert images.inspect(target)["Size"] <= MEGABYTES[target] * 1e6


@pytest.mark.parametrize("target", TARGETS)
def test_it_runs_as_nobody_and_says_what_it_is(images: Images, target: str) -> None:
    config = images.inspect(target)["Config"]
    assert config["User"] == "1000:1000"
    assert not config.get("Entrypoint")
    assert "org.opencontainers.image.base.name" in config["Labels"]
    assert re.fullmatch("[0-9a-f]{40}|unknown", config["Labels"]["org.opencontainers.image.revision"])
    assert images.run(target, "sh", "-c", "id -u; id -g; touch /x 2>/dev/null || echo read-only; pwd").split() == [
        "1000", "1000", "read-only", "/tmp",
    ]  # fmt: skip


@pytest.mark.parametrize("target", MEGABYTES)
def test_nothing_in_it_installs_compiles_or_tests(images: Images, target: str) -> None:
    paths = json.loads(images.run(target, "python", "-c", LIST))
    assert any(path.endswith("/site-packages/hyperflow/steps/train.py") for path in paths)
    unwanted = re.compile(
        r"/bin/(cc|gcc|g\+\+|clang|ld|as|make|protoc|pip[\d.]*|uv)$|/libclang|_protoc_compiler|/pip-[\d.]+|/ensurepip/_bundled/"
        r"|/site-packages/(pip|uv|test|(.*/)?tests)$|/site-packages/hyperflow/(.*/)?test|_test\.py$|\.(c|h|pyx)$"
        r"|/(\.netrc|\.pypirc|uv\.toml|\.docker|\.git)$|/var/lib/apt/lists/.+|/\.cache/.+"
    )
    assert [path for path in paths if unwanted.search(path)] == []


@pytest.mark.parametrize("target", TARGETS)
def test_no_secret_and_no_index_is_in_it(images: Images, target: str) -> None:
    assert images.run(target, "python", "-c", SECRETS) == ""
    assert images.run(target, "sh", "-c", "cat /etc/pip.conf /tmp/.config/pip/pip.conf 2>/dev/null || true") == ""
    told = images.history(target) + json.dumps(images.inspect(target)["Config"])
    assert not re.search(
        r"index[-_]url|://|PASSWORD|TOKEN|SECRET|_KEY", re.sub(r"docker://|https?://docs\S*", "", told)
    )


@pytest.mark.parametrize("target", TARGETS)
def test_it_holds_the_lock_and_nothing_else(images: Images, target: str) -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements" / f"{target}.txt").read_text(), re.M))
    lines = images.run(target, "python", "-c", INSTALLED).splitlines()
    installed = {re.sub(r"[-_.]+", "-", name).lower() for name in (line.split()[0] for line in lines)}
    assert installed - {"hyperflow"} <= set(locked)
    assert "hyperflow" in installed


@pytest.mark.parametrize("target", EXPLAINED)
def test_pip_check_says_only_what_is_explained(images: Images, target: str) -> None:
    mounts = {Path(pip.__file__).parent: "/mnt/pip/pip:ro"}
    check = "python -m pip check --disable-pip-version-check || true"
    said = images.run(target, "sh", "-c", check, mounts=mounts, PYTHONPATH="/mnt/pip").strip().splitlines()
    unexplained = [line for line in said if not any(line.startswith(known) for known in EXPLAINED[target])]
    assert unexplained == []
    assert len(said) == len(EXPLAINED[target]), said


def test_the_small_predictor_holds_no_tensorflow(images: Images) -> None:
    program = (
        "import importlib.util as u; print([n for n in ('tensorflow', 'keras', 'onnx', 'tf2onnx') if u.find_spec(n)])"
    )
    assert images.run("serve", "python", "-c", program) == "[]\n"


def test_a_step_starts_within_two_seconds_of_pythons_own_start(images: Images) -> None:
    """Inside one container, so that the engine's own time is no part of it."""
    program = """
import subprocess, sys, time
def seconds(code):
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - started
print(min(seconds("import kfp.dsl.executor_main, hyperflow.steps") - seconds("pass") for _ in range(3)))
"""
    before = time.monotonic()
    beyond = float(images.run("steps", "python", "-c", program))
    assert 0 < beyond <= 2, f"{beyond:.2f} s; all three took {time.monotonic() - before:.2f} s"
