"""A trial in the image, its command rewritten as Katib's webhook rewrites it, its output read as Katib reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hyperflow import translation
from hyperflow.engines.kubeflow.manifests import experiment
from hyperflow.parameters import Parameters
from hyperflow.volume import MOUNT_PATH
from tests.images.conftest import Images, writable

pytestmark = pytest.mark.images

# Katib v0.19, pkg/metricscollector/v1beta1/common/const.go
FILTER = re.compile(r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)")
VALUES = {"learning_rate": "0.002", "dropout_rate": "0.25"}


def rewritten(command: list[str]) -> list[str]:
    """Do what Katib v0.19 does in pkg/webhook/v1beta1/pod/utils.go, and then the kubelet, which takes `$$` for `$`."""
    joined = " ".join(command) + " 1>/var/log/katib/metrics.log 2>&1 && echo completed > /var/log/katib/$$$$.pid"
    for name, value in VALUES.items():
        joined = joined.replace(f"${{trialParameters.{name}}}", value)
    return ["sh", "-c", joined.replace("$$", "$")]


def test_metrics_pass_through_katibs_shell_and_filter(
    images: Images, volume: Path, data_path: str, tmp_path: Path
) -> None:
    logs = writable(tmp_path / "katib")
    parameters = Parameters.complete(
        {"trainer_image": images.reference("model"), "trial_epochs": 2, "trainer_arguments": {"model": "mlp"}}
    )
    spec = experiment(translation.tune_spec(parameters, "katib", data_path))["spec"]
    (container,) = spec["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    mounts = {volume: f"{MOUNT_PATH}:ro", logs: "/var/log/katib"}
    printed = images.run("model", *rewritten(container["command"]), mounts=mounts, **environment)
    assert printed == "", "Katib's shell sends all output to the file"
    (ended,) = logs.glob("*.pid")
    assert ended.read_text() == "completed\n"
    found = FILTER.findall((logs / "metrics.log").read_text())
    objective = [float(value) for name, value, *_ in found if name == spec["objective"]["objectiveMetricName"]]
    assert len(objective) == 2
    assert all(0.1 < value <= 1 for value in objective)
