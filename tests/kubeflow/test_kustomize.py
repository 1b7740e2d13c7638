"""The manifests: each overlay builds, all is in one namespace, and roles have the rights used and no others."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hyperflow.engines.kubeflow import KubeflowEngine, preflight
from hyperflow.errors import Cancelled, JobFailed
from hyperflow.progress import Progress
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.operators import TFJOBS
from tests.kubeflow.specs import model, serving, trainer, training, tuning
from tests.kubeflow.store import Object
from tests.kubeflow.world import NAMESPACE

MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
IN_PROFILE = "kubeflow-user-example-com"

Right = tuple[str, str, str]
"""API group, resource and verb."""

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@functools.cache
def build(folder: str) -> tuple[Object, ...]:
    command = ["kubectl", "kustomize", str(MANIFESTS / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, kind: str) -> list[Object]:
    return [item for item in build(f"overlays/{overlay}") if item["kind"] == kind]


def rights(name: str) -> set[Right]:
    (role,) = [item for item in of_kind("standard", "Role") if item["metadata"]["name"] == name]
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(emulator: Emulator) -> set[Right]:
    requests = [request for request in emulator.requests if request.parts]
    return {(request.parts["group"], request.resource, request.verb) for request in requests}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_builds_into_one_namespace(overlay: str) -> None:
    for item in build(f"overlays/{overlay}"):
        if item["kind"] in ("Namespace", "Profile"):
            assert item["metadata"]["name"] == IN_PROFILE
        else:
            assert item["metadata"]["namespace"] == IN_PROFILE
    for binding in of_kind(overlay, "RoleBinding"):
        assert {subject["namespace"] for subject in binding["subjects"]} == {IN_PROFILE}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_namespace_has_the_label_without_which_trials_never_finish(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"][preflight.COLLECTOR_LABEL] == "enabled"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_job_that_gives_the_volume_away_runs_as_root(overlay: str) -> None:
    roots = [name for name, container in containers(overlay) if container["securityContext"].get("runAsUser") == 0]
    assert roots == ["hyperflow-prepare-claim"]
    for _, container in containers(overlay):
        security = container["securityContext"]
        assert security["capabilities"]["drop"] == ["ALL"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_image_is_left_to_chance(overlay: str) -> None:
    assert {container["image"] for _, container in containers(overlay)} <= {
        "hyperflow-steps:0.1.0",
        "hyperflow-model:0.1.0",
    }


def containers(overlay: str) -> list[tuple[str, Object]]:
    """Return the containers of what is ours to secure, with their owner's name; a notebook's image has its own way."""
    found: list[tuple[str, Object]] = []

    def search(owner: str, value: Any) -> None:
        for key, item in value.items() if isinstance(value, dict) else ():
            if key == "containers":
                found.extend((owner, container) for container in item)
            search(owner, item)

    for item in build(f"overlays/{overlay}"):
        if item["kind"] != "Notebook":
            search(item["metadata"]["name"], item)
    return found


def test_role_is_what_preflight_asks_for() -> None:
    asked = {(resource.group, resource.plural, verb) for resource, verbs in preflight.VERBS.items() for verb in verbs}
    assert rights("hyperflow-steps") == asked | {("", "pods/log", "get")}


def test_role_has_the_rights_that_the_steps_use_and_no_others(
    emulator: Emulator, engine: KubeflowEngine, operators: None, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_through_everything(emulator, engine, root, monkeypatch)
    assert used(emulator) == rights("hyperflow-steps")


def test_reaper_has_the_rights_that_it_uses_and_no_others(emulator: Emulator, engine: KubeflowEngine) -> None:
    leave_an_orphan(emulator, ("kubeflow.org", "experiments"))
    leave_an_orphan(emulator, TFJOBS)
    assert len(engine.reap()) == 2
    assert used(emulator) == rights("hyperflow-reaper")


def live_through_everything(
    emulator: Emulator, engine: KubeflowEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Do what steps do, well and badly: tune, train, serve, replace, restore, fail, run out of time, reap."""
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "flow", "uid": "u"}
    step = {"metadata": {"name": "step", "ownerReferences": [owner]}, "spec": {"containers": [{"command": ["true"]}]}}
    step["spec"]["containers"][0]["name"] = "main"  # type: ignore[index]
    emulator.store.create(("", "pods"), NAMESPACE, step)
    monkeypatch.setenv("KFP_POD_NAME", "step")
    leave_an_orphan(emulator, ("kubeflow.org", "experiments"))
    leave_an_orphan(emulator, TFJOBS)
    engine.reap()
    engine.tune(tuning())
    engine.tune(tuning())
    for verb in (
        lambda: engine.tune(tuning(run_id="bad", trainer=trainer(fail=3))),
        lambda: engine.train(training(run_id="late", timeout=1, trainer=trainer(pause=30))),
        lambda: engine.tune(tuning(run_id="late", timeout=1, trainer=trainer(pause=30))),
    ):
        with pytest.raises(JobFailed):
            verb()
    engine.train(training())
    engine.train(training())
    for run_id in ("run-1", "run-2"):
        folder = root / "models" / "m" / run_id / "1"
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"a model")
        engine.serve(serving(run_id=run_id, model=model(run_id)))
    engine.restore("m")
    with pytest.raises(JobFailed):
        engine.serve(serving(name="new", model=model("missing")))
    engine.report = cancel
    with pytest.raises(Cancelled):
        engine.serve(serving(name="cancelled"))
    assert engine.deployed("cancelled") is None


def cancel(_: Progress) -> None:
    """Stop as soon as there is something to report."""
    raise Cancelled("stop")


def leave_an_orphan(emulator: Emulator, key: tuple[str, str]) -> None:
    """Add a running job whose Workflow is gone."""
    metadata = {
        "name": "orphan",
        "labels": {"app.kubernetes.io/managed-by": "hyperflow", "katib.kubeflow.org/experiment": "none"},
        "ownerReferences": [{"kind": "Workflow", "name": "gone", "uid": "gone"}],
    }
    spec: Object = {"tfReplicaSpecs": {}} if key == TFJOBS else ORPHAN_SEARCH
    emulator.store.create(key, NAMESPACE, {"metadata": metadata, "spec": spec})


ORPHAN_SEARCH: Object = {
    "maxTrialCount": 1,
    "parallelTrialCount": 1,
    "parameters": [],
    "objective": {"type": "maximize", "objectiveMetricName": "a"},
    "trialTemplate": {
        "trialParameters": [],
        "trialSpec": {
            "kind": "Job",
            "spec": {"template": {"metadata": {}, "spec": {"containers": [{"name": "a", "command": ["sleep", "9"]}]}}},
        },
    },
}
