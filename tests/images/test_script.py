"""`images push`: what it asks of the builder, and what it says of a base that may move."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.images.conftest import ROOT

# A builder that writes down what it was asked for; as buildah, it gives the digest of what it pushed.
BUILDER = """#!/bin/sh
[ "$1" = --version ] && echo buildah version 1.28 && exit
echo "$@" >>"$ASKED"
while [ $# -gt 0 ]; do [ "$1" = --digestfile ] && echo sha256:00 >"$2"; shift; done
"""


@pytest.mark.parametrize(("base", "warned"), [("", True), ("python:3.11", True), ("python@sha256:" + "0" * 64, False)])
def test_a_base_that_may_move_is_told_when_images_are_pushed(tmp_path: Path, base: str, warned: bool) -> None:
    builder = tmp_path / "buildah"
    builder.write_text(BUILDER)
    builder.chmod(0o755)
    given = {
        "CONTAINER_TOOL": str(builder),
        "ASKED": str(tmp_path / "asked"),
        "REGISTRY": "registry.example",
        "TAG": "7",
    }
    given |= {"BASE_IMAGE": base} if base else {}
    command = ["images/images", "push"]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, **given}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [f"registry.example/hyperflow-{name}@sha256:00" for name in ("steps", "model")]
    assert ("a tag, which moves" in ended.stderr) is warned


def test_the_cuda_variant_is_locked_to_the_same_packages() -> None:
    """Another TensorFlow and CUDA's libraries are all that may differ."""
    models, cuda = (packages(ROOT / "requirements" / f"{name}.txt") for name in ("model", "model-cuda"))
    assert models - cuda == {"tensorflow-cpu==2.21.0"}
    assert {name.split("==")[0].split("-")[0] for name in cuda - models} == {"nvidia"}
    assert "tensorflow==2.21.0" in cuda
    text = (ROOT / "requirements" / "model-cuda.txt").read_text()
    assert "://" not in text


def test_the_derived_image_adds_to_the_steps_packages_and_replaces_none() -> None:
    steps = {name.split("==")[0] for name in packages(ROOT / "requirements" / "steps.txt")}
    added = {name.split("==")[0] for name in packages(ROOT / "examples" / "cloud-data" / "requirements.txt")}
    assert {"s3fs", "gcsfs"} <= added
    assert not added & steps


def packages(lock: Path) -> set[str]:
    return {line.split()[0] for line in lock.read_text().splitlines() if line[:1].isalpha()}
