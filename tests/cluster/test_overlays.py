"""The manifests on a real API server: applied, again with other images, and deleted, in somebody's namespace."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.api import Api
from tests.cluster.world import KSERVE, Machinery, machinery, need
from tests.kubeflow.store import Object, Refusal

MANIFESTS = Path(__file__).parents[2] / "manifests"
LABELS = {
    "app.kubernetes.io/part-of": "kubeflow-profile",
    "katib.kubeflow.org/metrics-collector-injection": "enabled",
    "istio-injection": "enabled",
}

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]


@pytest.fixture
def parts() -> Machinery:
    need(KSERVE)
    return machinery()


@pytest.fixture
def profile(parts: Machinery) -> Iterator[str]:
    """A namespace as the profile controller makes it."""
    name = f"profile-{uuid.uuid4().hex[:8]}"
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABELS}}
    parts.api.create("/api/v1/namespaces", space)
    yield name
    parts.api.delete(f"/api/v1/namespaces/{name}")


def overlay(folder: Path, namespace: str, tag: str) -> Path:
    """Copy the manifests, with their namespace and images changed as the README says."""
    copy = shutil.copytree(MANIFESTS, folder / tag)
    place = copy / "components" / "namespace" / "namespace.yaml"
    place.write_text(place.read_text().replace("kubeflow-user-example-com", namespace))
    base = copy / "base" / "kustomization.yaml"
    base.write_text(base.read_text().replace("newTag: 0.1.0", f"newTag: {tag}"))
    return copy / "overlays" / "no-mesh"


def kubectl(parts: Machinery, *words: str) -> str:
    command = ["kubectl", "--kubeconfig", str(parts.cluster.kubeconfig), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def labels(api: Api, namespace: str) -> dict[str, str]:
    space: Object = api.get(f"/api/v1/namespaces/{namespace}")
    return {key: value for key, value in space["metadata"]["labels"].items() if key in LABELS}


def images(api: Api, namespace: str) -> set[str]:
    items = api.get(f"/apis/batch/v1/namespaces/{namespace}/cronjobs")["items"]
    pods = [item["spec"]["jobTemplate"]["spec"]["template"]["spec"] for item in items]
    return {container["image"] for pod in pods for container in pod["containers"]}


def test_new_images_are_taken_and_the_namespace_stays_its_owners(
    parts: Machinery, profile: str, tmp_path: Path
) -> None:
    kubectl(parts, "apply", "-k", str(overlay(tmp_path, profile, "0.2.0")))
    assert images(parts.api, profile) == {"hyperflow-steps:0.2.0"}
    kubectl(parts, "apply", "-k", str(overlay(tmp_path, profile, "0.3.0")))
    assert images(parts.api, profile) == {"hyperflow-steps:0.3.0"}
    assert labels(parts.api, profile) == LABELS
    kubectl(parts, "create", "job", "-n", profile, "prepare-claim", "--from=cronjob/hyperflow-prepare-claim")
    kubectl(parts, "delete", "--wait=false", "-k", str(tmp_path / "0.3.0" / "overlays" / "no-mesh"))
    assert labels(parts.api, profile) == LABELS
    assert parts.api.get(f"/api/v1/namespaces/{profile}")["status"]["phase"] == "Active"
    with pytest.raises(Refusal):
        parts.api.get(f"/apis/batch/v1/namespaces/{profile}/cronjobs/hyperflow-reaper")
