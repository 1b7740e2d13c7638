"""The documented build inside a cluster: what the Job asks for, and what its script tells the user."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import yaml

from tests.images.conftest import ROOT

DIGEST = "sha256:" + "0123456789abcdef" * 4

# BuildKit's own part, which needs a registry: it writes down what it was asked for, and what it says it pushed.
BUILDER = f"""#!/bin/sh
printf '%s\\n' "$@" >"$ASKED"
while [ "$1" != --metadata-file ]; do shift; done
echo '{json.dumps({"containerimage.config.digest": "sha256:0", "containerimage.digest": DIGEST}, indent=2)}' >"$2"
"""


def test_the_script_builds_the_folder_and_prints_the_reference_to_pass_on(tmp_path: Path) -> None:
    job = yaml.safe_load((ROOT / "images" / "in-cluster" / "build-trainer.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    builder = tmp_path / "buildctl-daemonless.sh"
    builder.write_text(BUILDER)
    builder.chmod(0o755)
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    command = [word.replace("/tmp/built.json", str(tmp_path / "built.json")) for word in container["command"]]
    path = f"{tmp_path}:{os.environ['PATH']}"
    answer = subprocess.check_output(
        command, text=True, env={**environment, "PATH": path, "ASKED": str(tmp_path / "asked")}
    )
    assert answer == f"pass as trainer_image: registry.example.org/team/own-trainer@{DIGEST}\n"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert "context=/claim/own-trainer" in asked
    assert "type=image,name=registry.example.org/team/own-trainer:1,push=true" in asked
