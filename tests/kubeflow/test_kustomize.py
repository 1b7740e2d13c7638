"""The manifests: each overlay builds into one namespace, which stays its owner's, and roles have no right unused."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from hyperflow.engines.kubeflow import KubeflowEngine, preflight
from hyperflow.engines.kubeflow.jobs import create_beside
from hyperflow.engines.kubeflow.manifests import work as works
from hyperflow.engines.kubeflow.manifests.job import service as network
from hyperflow.engines.kubeflow.resources import JOB, NETWORK
from hyperflow.errors import Cancelled, JobFailed
from hyperflow.progress import Progress
from hyperflow.specs import Question
from pipelines import settings
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.operators import JOBS, TFJOBS
from tests.kubeflow.roles import Right, rights
from tests.kubeflow.specs import model, serving, trainer, training, tuning
from tests.kubeflow.store import Object
from tests.kubeflow.trainer import TRAINJOBS
from tests.kubeflow.world import NAMESPACE

MANIFESTS = Path(__file__).parents[2] / "manifests"
OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir() if path.name != "profile")
IN_PROFILE = "kubeflow-user-example-com"

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@functools.cache
def build(folder: str) -> tuple[Object, ...]:
    return tuple(yaml.safe_load_all(built_text(MANIFESTS / folder)))


def built_text(folder: Path) -> str:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def of_kind(overlay: str, kind: str) -> list[Object]:
    return [item for item in build(f"overlays/{overlay}") if item["kind"] == kind]


def used(emulator: Emulator) -> set[Right]:
    requests = [request for request in emulator.requests if request.parts]
    return {(request.parts["group"], request.resource, request.verb) for request in requests}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_builds_into_one_namespace(overlay: str) -> None:
    assert len(build(f"overlays/{overlay}")) >= 10
    assert {item["metadata"]["namespace"] for item in build(f"overlays/{overlay}")} == {IN_PROFILE}
    for binding in of_kind(overlay, "RoleBinding"):
        assert {subject["namespace"] for subject in binding["subjects"]} == {IN_PROFILE}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_is_neither_labelled_nor_deleted(overlay: str) -> None:
    """The platform's network policies select profiles by a label that ours would replace."""
    assert {item["kind"] for item in build(f"overlays/{overlay}")} & {"Namespace", "Profile"} == set()


def test_a_new_profile_comes_alone() -> None:
    (profile,) = build("overlays/profile")
    assert (profile["kind"], profile["metadata"]["name"]) == ("Profile", IN_PROFILE)
    assert "labels" not in profile["metadata"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_is_named_in_one_place(overlay: str, tmp_path: Path) -> None:
    copy = shutil.copytree(MANIFESTS, tmp_path / "manifests")
    place = copy / "components" / "namespace" / "namespace.yaml"
    place.write_text(place.read_text().replace(IN_PROFILE, "elsewhere"))
    built = built_text(copy / "overlays" / overlay)
    assert IN_PROFILE not in built
    assert built.count("namespace: elsewhere") >= 10


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_applied_that_cannot_be_changed(overlay: str) -> None:
    """A Job's pod is fixed for ever: another image would be refused."""
    assert of_kind(overlay, "Job") == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_root_works_only_when_told_to(overlay: str) -> None:
    suspended = {item["metadata"]["name"]: item["spec"].get("suspend", False) for item in of_kind(overlay, "CronJob")}
    assert suspended == {"hyperflow-prepare-claim": True, "hyperflow-reaper": False}


@pytest.mark.parametrize(("overlay", "in_mesh"), [("standard", True), ("knative", True), ("no-mesh", False)])
def test_injected_namespaces_get_the_mesh_policies(overlay: str, in_mesh: bool) -> None:
    """Steps have no sidecar, and a profile's own policy lets in only who has one, or comes through the gateway."""
    assert bool(of_kind(overlay, "AuthorizationPolicy")) is in_mesh
    assert bool(of_kind(overlay, "PeerAuthentication")) is in_mesh


def test_with_tokens_only_a_named_account_may_ask_for_predictions() -> None:
    (policy,) = of_kind("token", "AuthorizationPolicy")
    asking, looking = policy["spec"]["rules"]
    caller = f"system:serviceaccount:{IN_PROFILE}:hyperflow-caller"
    assert asking["from"] == [{"source": {"requestPrincipals": [f"kubernetes/serviceaccount/{caller}"]}}]
    assert {method for to in looking["to"] for method in to["operation"]["methods"]} == {"GET"}
    (authentication,) = of_kind("token", "RequestAuthentication")
    assert "kubernetes/serviceaccount" in {rule["issuer"] for rule in authentication["spec"]["jwtRules"]}


def test_the_callers_token_gives_no_other_right_and_is_not_in_the_manifests() -> None:
    subjects = [subject["name"] for binding in of_kind("token", "RoleBinding") for subject in binding["subjects"]]
    assert "hyperflow-caller" not in subjects
    (secret,) = of_kind("token", "Secret")
    assert secret["metadata"]["name"] == settings.ACCESS_SECRET
    assert not secret.keys() & {"data", "stringData"}


def test_a_private_registry_serves_everything_that_is_pulled(tmp_path: Path) -> None:
    copy = shutil.copytree(MANIFESTS, tmp_path / "manifests")
    overlay = copy / "overlays" / "standard" / "kustomization.yaml"
    text = overlay.read_text()
    overlay.write_text(text.replace("components:\n", "components:\n  - ../../components/registry\n"))
    pods = [item for item in yaml.safe_load_all(built_text(overlay.parent)) if "containers" in str(item)]
    assert len(pods) == 3
    for item in pods:
        job = item["spec"].get("jobTemplate")
        pod = job["spec"]["template"]["spec"] if job else item["spec"]
        assert pod["imagePullSecrets"] == [{"name": "hyperflow-registry"}]


def test_the_admins_policy_opens_the_local_gateway_alone() -> None:
    policy = yaml.safe_load((MANIFESTS / "admin" / "local-gateway.yaml").read_text())
    assert policy["metadata"]["namespace"] == "istio-system"
    assert policy["spec"]["podSelector"]["matchLabels"] == {"app": "cluster-local-gateway"}
    (rule,) = policy["spec"]["ingress"]
    (source,) = rule["from"]
    assert source == {"namespaceSelector": {"matchLabels": {"app.kubernetes.io/part-of": "kubeflow-profile"}}}
    assert [port["port"] for port in rule["ports"]] == [8080, 8081]


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
    for key in (("kubeflow.org", "experiments"), TFJOBS, TRAINJOBS, JOBS):
        leave_an_orphan(emulator, key)
    assert len(engine.reap()) == 4
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
    for key in (("kubeflow.org", "experiments"), TFJOBS, TRAINJOBS, JOBS):
        leave_an_orphan(emulator, key)
    engine.reap()
    train_without_operator(engine)
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
    for _ in ("asked", "asked again"):
        engine.ask(Question("run-1", "m", "good", "good", "", "/page", 0.0, time.time()))
    engine.restore("m")
    with pytest.raises(JobFailed):
        engine.serve(serving(name="new", model=model("missing")))
    engine.tell = cancel
    with pytest.raises(Cancelled):
        engine.serve(serving(name="cancelled"))
    assert engine.deployed("cancelled") is None


def train_without_operator(engine: KubeflowEngine) -> None:
    """Do the same with jobs that need no operator of Kubeflow's, or another one, and look what there is."""
    engine.tune(tuning(run_id="found", tuner="auto"))
    found = training(run_id="found", training_backend="auto")
    engine.train(dataclasses.replace(found, model_path=found.model_path.replace("run-1", "found")))
    for backend in ("job", "trainjob"):
        spec = training(run_id=f"by-{backend}", training_backend=backend, workers=2)
        engine.train(dataclasses.replace(spec, model_path=spec.model_path.replace("run-1", spec.run_id)))
        late = training(run_id=f"late-{backend}", training_backend=backend, timeout=1, trainer=trainer(pause=30))
        with pytest.raises(JobFailed):
            engine.train(late)
    names = network(works.training(training(run_id="again", workers=2)))
    for uid in ("before", "now"):  # an earlier job of that name has left its names behind
        create_beside(engine.cluster, NETWORK, names, {"metadata": {"name": "train-again", "uid": uid}}, JOB)
    engine.tune(tuning(run_id="own", tuner="job"))


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
    spec = ORPHANS.get(key, ORPHAN_SEARCH)
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

ORPHANS: dict[tuple[str, str], Object] = {
    TFJOBS: {"tfReplicaSpecs": {}},
    TRAINJOBS: {"runtimeRef": {"name": "hyperflow"}, "trainer": {"numNodes": 0, "image": "", "command": [], "env": []}},
    JOBS: {"completions": 0},
}
