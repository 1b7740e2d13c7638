"""Specs as Kubernetes objects: whole documents against golden files, and those against the released schemas."""

from __future__ import annotations

import dataclasses
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hyperflow.engines.kubeflow import KubeflowEngine, trials
from hyperflow.engines.kubeflow.manifests import KServe, Manifest, experiment, inference_service, tfjob, work
from hyperflow.engines.kubeflow.manifests import service as services
from hyperflow.engines.kubeflow.manifests.job import job, service
from hyperflow.engines.kubeflow.manifests.trainjob import trainjob
from hyperflow.errors import Conflict, InvalidParameter
from hyperflow.specs import Algorithm, Compute, Dimension, EarlyStopping, Objective, Trainer, fingerprint
from hyperflow.volume import MOUNT_PATH
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.specs import BIG, model, serving, training, tuning

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
SCHEMAS = Path(os.environ.get("HYPERFLOW_CRDS", ROOT.parent / "shared" / "crds"))

TRAINER = Trainer(("python", "-m", "hyperflow.fashion.train"), {"model": "cnn"}, "registry.example/trainer:1")
SPACE = (
    Dimension("learning-rate", "double", 1e-4, 1e-1, distribution="logUniform"),
    Dimension("layers", "int", 1, 4),
    Dimension("batch-size", "discrete", values=(32, 64, 128)),
    Dimension("optimizer", "categorical", values=("adam", "sgd")),
)


def documents() -> dict[str, Manifest]:
    tune = tuning(
        trainer=TRAINER,
        search_space=SPACE,
        algorithm=Algorithm("tpe", {"n_EI_candidates": "24"}),
        objective=Objective(goal=0.93, additional=("loss",)),
        early_stopping=EarlyStopping(2, 3),
    )
    train = training(trainer=TRAINER, parameters={"learning-rate": 0.001, "optimizer": "adam"})
    many = dataclasses.replace(train, workers=3, compute=BIG, retries=3)
    live = existing()
    return {
        "experiment-job": experiment(tune),
        "experiment-tfjob": experiment(dataclasses.replace(tune, workers=2, compute=BIG, early_stopping=None)),
        "tfjob-one": tfjob(train),
        "tfjob-many": tfjob(
            dataclasses.replace(train, workers=3, parameter_servers=1, evaluator=True, compute=BIG, retries=3)
        ),
        "service-logging": inference_service(serving(log_payloads="payloads/m"), KServe()),
        "job-one": job(work.training(train)),
        "job-many": job(work.training(many)),
        "job-trial": job(work.trial(tune, 7, {"learning-rate": 0.01, "optimizer": "sgd"})),
        "network-many": service(work.training(many)),
        "trainjob-one": trainjob(work.training(dataclasses.replace(train, retries=0))),
        "trainjob-many": trainjob(work.training(many)),
        "service-standard": inference_service(serving(), KServe((0, 21), "Standard")),
        "service-knative": inference_service(serving(min_replicas=0), KServe((0, 21), "Knative")),
        "service-scaled-knative": inference_service(
            serving(min_replicas=0, max_replicas=5, scale_metric="rps", scale_target=50), KServe((0, 21), "Knative")
        ),
        "service-scaled-standard": inference_service(
            serving(max_replicas=5, scale_metric="memory", scale_target=70), KServe((0, 20), "Standard")
        ),
        "service-old": inference_service(serving(runtime="tensorflow"), KServe((0, 15), "Standard")),
        "service-replaced": inference_service(serving(run_id="run-2", model=model("run-2")), KServe(), live),
        "service-canary-knative": inference_service(
            serving(run_id="run-2", model=model("run-2"), canary_percent=10), KServe((0, 16), "Knative"), live
        ),
        "service-canary-standard": inference_service(
            serving(run_id="run-2", model=model("run-2"), canary_percent=10), KServe(), live
        ),
    }


def existing() -> Manifest:
    """A service that KServe has made ready."""
    live = inference_service(serving(), KServe())
    live["metadata"] |= {"resourceVersion": "7", "generation": 1, "uid": "u", "namespace": "team"}
    ready = {"type": "Ready", "status": "True"}
    return {**live, "status": {"observedGeneration": 1, "url": "http://m", "conditions": [ready]}}


@cache
def built() -> dict[str, Manifest]:
    return documents()


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.yaml")))
def test_document_is_the_golden_one(name: str) -> None:
    assert built()[name] == yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())


def test_each_document_has_its_golden_file() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == built().keys()


@pytest.mark.parametrize(
    ("prefix", "schema"),
    [
        ("tfjob", "training-tfjob.yaml"),
        ("trainjob", "trainer.kubeflow.org_trainjobs.yaml"),
        ("service", "kserve-inferenceservices.yaml"),
    ],
)
def test_golden_files_keep_to_the_released_schemas(prefix: str, schema: str) -> None:
    if not (SCHEMAS / schema).exists():
        pytest.skip("the released CRDs are not here (HYPERFLOW_CRDS)")
    crd: Any = yaml.load((SCHEMAS / schema).read_text(), yaml.CSafeLoader)
    validator = jsonschema.Draft7Validator(closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
    found = [path for path in GOLDEN.glob("*.yaml") if path.stem.startswith(prefix)]
    assert found
    for path in found:
        assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []


def closed(schema: Any, top: bool = True) -> Any:
    """Refuse unknown fields, which an API server would drop without a word."""
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value, top and key != "properties") for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {}
    if "properties" in schema and isinstance(schema.get("type"), str):
        free = schema.get("x-kubernetes-preserve-unknown-fields") or not schema["properties"]
        if not free and schema.get("type") == "object" and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
    if "metadata" in schema.get("properties", {}) and "apiVersion" in schema["properties"]:
        schema["properties"]["metadata"] = {"type": "object"}
    return schema


def test_failed_trials_always_have_a_limit() -> None:
    assert experiment(tuning(max_failed_trials=0))["spec"]["maxFailedTrialCount"] == 0


def test_parameter_of_the_space_wins_over_the_number_of_epochs() -> None:
    space = (Dimension("epochs", "int", 1, 9), Dimension("x", "double", 0, 1))
    trial = experiment(tuning(search_space=space))["spec"]["trialTemplate"]["trialSpec"]
    command = trial["spec"]["template"]["spec"]["containers"][0]["command"]
    assert "'--epochs=${trialParameters.epochs}'" in command
    assert len([word for word in command if "--epochs" in word]) == 1


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("loss=0.25 accuracy=1", [("loss", "0.25"), ("accuracy", "1")]),
        ("loss = -1.5e-3", [("loss", "-1.5e-3")]),
        ("loss=.5", [("loss", ".5")]),
        ("loss=nan accuracy=1", [("accuracy", "1")]),
        ("loss=inf", []),
        ("loss=-inf", []),
        ("loss=", []),
        ("loss=NaN", []),
    ],
)
def test_collector_takes_finite_numbers_alone(line: str, found: list[tuple[str, str]]) -> None:
    """The pattern keeps to what Go's and Python's expressions have in common."""
    source = experiment(tuning())["spec"]["metricsCollectorSpec"]["source"]
    (pattern,) = source["filter"]["metricsFormat"]
    assert re.findall(pattern, line) == found
    assert ";" not in pattern  # Katib joins patterns with it


def test_grid_over_doubles_has_every_point() -> None:
    """Katib would make three of them, as 0.1 + 0.1 + 0.1 is more than 0.3."""
    space = (Dimension("x", "double", 0, 0.3, step=0.1), Dimension("k", "int", 1, 7, step=3))
    spec = tuning(search_space=space, algorithm=Algorithm("grid"), parallel_trials=1)
    x, k = experiment(spec)["spec"]["parameters"]
    assert x == {"name": "x", "parameterType": "discrete", "feasibleSpace": {"list": ["0", "0.1", "0.2", "0.3"]}}
    assert k["feasibleSpace"]["step"] == "3"
    assignments = [{"name": "x", "value": "0"}, {"name": "k", "value": "7"}]
    item = {
        "metadata": {"name": "t", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"parameterAssignments": assignments},
    }
    (trial,) = trials.read(spec, [item])
    assert (trial.parameters, type(trial.parameters["x"])) == ({"x": 0.0, "k": 7}, float)


HYPERBAND = Algorithm("hyperband", {"r_l": "9", "resource_name": "k"})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"search_space": (Dimension("k", "int", 1, 9, step=4),)}, r"search_space\[k\].min"),
        ({"search_space": (Dimension("k", "int", 0, 9, step=4),)}, r"search_space\[k\].max"),
        ({"search_space": (Dimension("x", "double", 0.1, 0.5, step=0.2),)}, r"search_space\[x\].min"),
        (
            {"search_space": (Dimension("x", "double", 1, 2, distribution="logUniform"),), "algorithm": "sobol"},
            r"search_space\[x\].distribution",
        ),
        ({"algorithm": "grid", "parallel_trials": 2}, "parallel_trials"),
        ({"algorithm": HYPERBAND, "max_trials": 9, "parallel_trials": 8}, "parallel_trials"),
        ({"algorithm": HYPERBAND, "max_trials": 8, "parallel_trials": 8}, "parallel_trials"),
        (
            {
                "algorithm": HYPERBAND,
                "search_space": (Dimension("k", "int", 1, 9), Dimension("x", "double", 0, 1, 0.5)),
            },
            r"search_space\[x\].step",
        ),
        (
            {
                "algorithm": HYPERBAND,
                "search_space": (Dimension("k", "int", 1, 9), Dimension("x", "discrete", values=(0.5, 1))),
            },
            r"search_space\[x\].values",
        ),
    ],
)
def test_what_katib_would_search_otherwise_is_refused(changes: dict[str, Any], named: str) -> None:
    algorithm = changes.get("algorithm", "tpe")
    fields: dict[str, Any] = {
        "search_space": (Dimension("k", "int", 1, 9),),
        **changes,
        "algorithm": Algorithm(algorithm) if isinstance(algorithm, str) else algorithm,
    }
    with pytest.raises(InvalidParameter, match=named):
        experiment(tuning(**fields))


@pytest.mark.parametrize(
    "changes",
    [
        {"search_space": (Dimension("k", "int", 0, 8, step=4),)},
        {"search_space": (Dimension("x", "double", 0.1, 0.7, step=0.1),)},
        {"search_space": (Dimension("k", "int", 1, 9, step=4),), "algorithm": Algorithm("multivariate-tpe")},
        {"search_space": (Dimension("k", "int", 1, 9),), "algorithm": HYPERBAND, "max_trials": 9, "parallel_trials": 9},
    ],
)
def test_what_katib_searches_truly_is_admitted(changes: dict[str, Any]) -> None:
    assert experiment(tuning(**changes))["kind"] == "Experiment"


def test_check_refuses_what_katib_cannot_search_before_it_asks_the_cluster(
    emulator: Emulator, engine: KubeflowEngine
) -> None:
    spec = tuning(search_space=(Dimension("k", "int", 1, 9),), algorithm=HYPERBAND, max_trials=20)
    for refused in (lambda: engine.check(spec, training(), serving()), lambda: engine.tune(spec)):
        with pytest.raises(InvalidParameter, match="parallel_trials"):
            refused()
    assert not [request for request in emulator.requests if request.verb == "create"]


def test_first_failure_without_retries_leaves_the_failed_pods() -> None:
    """A limit of 0 has the operator delete all pods, and with them the logs that say why."""
    job = tfjob(training(retries=0))["spec"]
    trial = experiment(tuning(workers=2))["spec"]["trialTemplate"]["trialSpec"]["spec"]
    for spec in (job, trial):
        assert "backoffLimit" not in spec["runPolicy"]
        assert {replica["restartPolicy"] for replica in spec["tfReplicaSpecs"].values()} == {"Never"}


def test_path_outside_the_volume_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="data_path"):
        tfjob(training(data_path="/elsewhere/data"))


def test_path_on_this_process_volume_is_the_one_that_pods_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERFLOW_VOLUME", str(tmp_path))
    argv = tfjob(training(data_path=f"{tmp_path}/data/d"))["spec"]["tfReplicaSpecs"]["Chief"]
    assert f"--data-path={MOUNT_PATH}/data/d" in argv["template"]["spec"]["containers"][0]["command"]


def test_trainer_without_an_image_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="trainer_image"):
        tfjob(training(trainer=Trainer(("train",))))


@pytest.mark.parametrize(
    ("kserve", "value"),
    [
        (KServe((0, 15), "Standard"), "RawDeployment"),
        (KServe((0, 15), "Knative"), "Serverless"),
        (KServe((0, 16), "Standard"), "Standard"),
        (KServe((0, 21), "Knative"), "Knative"),
    ],
)
def test_mode_has_the_name_that_the_version_knows(kserve: KServe, value: str) -> None:
    annotations = inference_service(serving(), kserve)["metadata"]["annotations"]
    assert annotations["serving.kserve.io/deploymentMode"] == value


@pytest.mark.parametrize(
    ("kserve", "changes", "named"),
    [
        (KServe((0, 19), "Standard"), {"canary_percent": 10}, "canary_percent"),
        (KServe((0, 20), "Standard"), {"min_replicas": 0}, "min_replicas"),
        (KServe((0, 20), "Standard"), {"scale_metric": "rps"}, "scale_metric"),
        (KServe((0, 20), "Standard"), {"scale_metric": "concurrency", "scale_target": 4}, "scale_metric"),
        (KServe((0, 20), "Knative"), {"scale_metric": "cpu"}, "scale_metric"),
        (KServe((0, 20), "Knative"), {"scale_metric": "memory", "scale_target": 70}, "scale_metric"),
        (KServe((0, 20), "Standard"), {"scale_target": 101}, "scale_target"),
        (KServe((0, 20), "Standard"), {"scale_metric": "memory"}, "scale_target"),
    ],
)
def test_what_kserve_would_pass_over_is_refused(kserve: KServe, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidParameter, match=named):
        inference_service(serving(**changes), kserve, existing())


@pytest.mark.parametrize("kserve", [KServe((0, 16), "Knative"), KServe((0, 20), "Standard")])
def test_promoted_canary_is_all_there_is(kserve: KServe) -> None:
    canary = inference_service(serving(model=model("run-2"), canary_percent=10), kserve, existing())
    promoted = services.promoted(canary)
    assert promoted is not None
    assert promoted["spec"]["predictor"]["model"]["storageUri"].endswith("/run-2")
    assert promoted["spec"]["predictor"]["maxReplicas"] == 1
    assert services.promoted(promoted) is None


def test_standard_canary_takes_no_replica_from_the_model_that_has_the_users() -> None:
    """KServe takes a canary's replicas off the least of the stable model's, and refuses a canary that has more."""
    live = inference_service(serving(min_replicas=2, max_replicas=4), KServe())
    live["status"] = existing()["status"]
    changed = inference_service(
        serving(model=model("run-2"), canary_percent=10, min_replicas=3, max_replicas=6), KServe(), live
    )
    (canary,) = changed["spec"]["canary"]
    stable = changed["spec"]["predictor"]
    assert canary["predictor"]["minReplicas"] == 1
    assert stable["minReplicas"] - canary["predictor"]["minReplicas"] == 2
    assert stable["maxReplicas"] >= 4
    promoted = services.promoted(changed)
    assert promoted is not None
    assert [promoted["spec"]["predictor"][key] for key in ("minReplicas", "maxReplicas")] == [3, 6]
    restored = services.restored(changed)
    assert restored is not None
    assert restored["spec"] == live["spec"]


def test_standard_canary_scales_once_it_is_promoted_and_as_its_own_parameters_say() -> None:
    live = inference_service(serving(max_replicas=4, scale_metric="cpu", scale_target=50), KServe())
    live["status"] = existing()["status"]
    changed = inference_service(
        serving(model=model("run-2"), canary_percent=10, max_replicas=6, scale_metric="memory", scale_target=70),
        KServe(), live,
    )  # fmt: skip
    (canary,) = changed["spec"]["canary"]
    assert not {"scaleMetric", "scaleTarget", "maxReplicas"} & canary["predictor"].keys()
    assert [changed["spec"]["predictor"][key] for key in ("scaleMetric", "scaleTarget")] == ["cpu", 50]
    promoted = services.promoted(changed)
    assert promoted is not None
    scaling = {key: promoted["spec"]["predictor"][key] for key in ("maxReplicas", "scaleMetric", "scaleTarget")}
    assert scaling == {"maxReplicas": 6, "scaleMetric": "memory", "scaleTarget": 70}
    restored = services.restored(changed)
    assert restored is not None
    assert restored["spec"] == live["spec"]


def test_standard_canary_has_no_share_until_it_is_given_one() -> None:
    canary = inference_service(serving(model=model("run-2"), canary_percent=10), KServe(), existing())
    assert [entry["trafficPercent"] for entry in canary["spec"]["canary"]] == [0]
    shared = services.shared(canary, 10)
    assert shared is not None
    assert [entry["trafficPercent"] for entry in shared["spec"]["canary"]] == [10]
    assert services.shared(shared, 10) is None
    assert services.shared(existing(), 100) is None


def test_knative_rollback_gives_the_newest_revision_nothing() -> None:
    """Without a share all requests go to the newest revision that is ready, which is the canary for a while."""
    knative = KServe((0, 20), "Knative")
    canary = inference_service(serving(model=model("run-2"), canary_percent=10), knative, existing())
    held = services.restored(canary)
    assert held is not None
    assert held["spec"]["predictor"]["canaryTrafficPercent"] == 0
    freed = services.promoted(held)
    assert freed is not None
    assert freed["spec"] == existing()["spec"]
    assert freed["metadata"] == held["metadata"]  # another change would make another revision


@pytest.mark.parametrize("percent", [10, 100])
def test_restored_service_is_the_one_before(percent: int) -> None:
    live = existing()
    changed = inference_service(serving(model=model("run-2"), canary_percent=percent), KServe(), live)
    restored = services.restored(changed)
    assert restored is not None
    assert restored["spec"] == live["spec"]
    assert services.served(restored) == model()
    assert services.restored(restored) is None


LABELS = {"modelregistry.kubeflow.org/registered-model-id": "1", "modelregistry.kubeflow.org/model-version-id": "2"}


def test_labels_of_a_registered_model_come_and_go_with_it() -> None:
    """A version that is served without a registry, or taken back, is not called by the labels of another."""
    others = {"team": "vision"}
    first = inference_service(serving(model=dataclasses.replace(model(), labels=LABELS)), KServe())
    assert LABELS.items() <= first["metadata"]["labels"].items()
    first = {**existing(), "metadata": {**existing()["metadata"], **first["metadata"]}}
    first["metadata"]["labels"] |= others
    newer = {**LABELS, "modelregistry.kubeflow.org/model-version-id": "3"}
    second = inference_service(
        serving(run_id="run-2", model=dataclasses.replace(model("run-2"), labels=newer)), KServe(), first
    )
    assert (newer | others).items() <= second["metadata"]["labels"].items()
    back = services.restored(second)
    assert back is not None
    assert (LABELS | others).items() <= back["metadata"]["labels"].items()
    plain = inference_service(serving(run_id="run-3", model=model("run-3")), KServe(), second)
    assert not LABELS.keys() & plain["metadata"]["labels"].keys()
    assert others.items() <= plain["metadata"]["labels"].items()


def test_labels_make_no_other_spec() -> None:
    """A retry that finds the registry again, or does not, goes on with the service that is there."""
    assert fingerprint(serving(model=dataclasses.replace(model(), labels=LABELS))) == fingerprint(serving())


def test_canary_over_a_canary_goes_back_to_the_model_that_was_proven() -> None:
    first = inference_service(serving(model=model("run-2"), canary_percent=10), KServe(), existing())
    second = inference_service(serving(model=model("run-3"), canary_percent=10), KServe(), first)
    assert services.previous(second) == model()
    assert len(second["spec"]["canary"]) == 1


CANARY_NAME = "rabc123"


@pytest.mark.parametrize(
    ("mode", "canary", "inside", "wanted"),
    [
        ("Standard", False, True, "http://m-predictor.team.svc.cluster.local"),
        ("Standard", True, True, f"http://m-{CANARY_NAME}-predictor.team.svc.cluster.local"),
        ("Standard", True, False, "http://m.team.example.org"),
        ("Knative", False, True, "http://m.team.svc.cluster.local"),
        ("Knative", True, True, "http://latest-m-predictor.team.svc.cluster.local"),
        ("Knative", True, False, "http://latest-m-predictor.team.example.org"),
        ("Knative", False, False, "http://m.team.example.org"),
    ],
)
def test_step_asks_a_canary_alone(mode: str, canary: bool, inside: bool, wanted: str) -> None:
    name = "m" if mode == "Knative" else "m-predictor"
    assert services.url(standing(mode, canary, f"http://{name}.team.svc.cluster.local"), inside) == wanted


def test_step_asks_a_canary_alone_where_kserve_makes_no_virtual_host() -> None:
    live = standing("Knative", True, "http://m-predictor.team.svc.cluster.local")
    assert services.url(live, True) == "http://latest-m-predictor.team.svc.cluster.local"


def test_step_asks_a_canary_at_its_tag_where_the_address_is_an_unknown_one() -> None:
    live = standing("Knative", True, "http://gateway.example.net/m")
    assert services.url(live, True) == "http://latest-m-predictor.team.example.org"


def test_canary_without_an_address_of_its_own_is_not_asked_among_others() -> None:
    live = standing("Knative", True, "http://m.team.svc.cluster.local")
    live["status"]["components"]["predictor"]["traffic"] = []
    with pytest.raises(Conflict, match="no address of its own"):
        services.url(live, True)


def standing(mode: str, canary: bool, address: str) -> Manifest:
    """A service as KServe leaves it, with a canary or none."""
    predictor: Manifest = {"canaryTrafficPercent": 10} if canary and mode == "Knative" else {}
    spec: Manifest = {"predictor": predictor}
    if canary and mode == "Standard":
        spec["canary"] = [{"predictor": {"name": CANARY_NAME}, "trafficPercent": 10}]
    latest = {"latestRevision": True, "tag": "latest", "url": "http://latest-m-predictor.team.example.org"}
    status = {
        "url": "http://m.team.example.org",
        "address": {"url": address},
        "components": {"predictor": {"traffic": [latest] if mode == "Knative" else []}},
    }
    return {"metadata": {"name": "m", "annotations": {}}, "spec": spec, "status": status}


CUDA = dataclasses.replace(TRAINER, image="registry.example/team/hyperflow-model-cuda@sha256:" + "0" * 64)


def pod_of(manifest: Manifest) -> Manifest:
    pod: Manifest = manifest["spec"]["tfReplicaSpecs"]["Chief"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("resource", ["amd.com/gpu", "nvidia.com/mig-1g.5gb"])
def test_any_gpu_shared_memory_and_priority_reach_the_pods(resource: str) -> None:
    compute = Compute(gpus=2, gpu_resource=resource, shared_memory="2Gi", priority_class="batch-low")
    pod = pod_of(tfjob(training(trainer=CUDA, compute=compute)))
    (container,) = pod["containers"]
    assert container["resources"]["limits"][resource] == "2"
    assert pod["priorityClassName"] == "batch-low"
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}} in pod["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]


@pytest.mark.parametrize("name", ["hyperflow-model:0.1.0", "registry.example:5000/team/hyperflow-model@sha256:00"])
def test_gpus_are_refused_with_an_image_that_would_leave_them_idle(name: str) -> None:
    trainer = dataclasses.replace(TRAINER, image=name)
    with pytest.raises(InvalidParameter, match=r"gpus(.|\n)*hyperflow-model-cuda"):
        tfjob(training(trainer=trainer, compute=BIG))
    with pytest.raises(InvalidParameter, match=r"gpus(.|\n)*hyperflow-model-cuda"):
        experiment(tuning(trainer=trainer, compute=BIG))
    tfjob(training(trainer=trainer))
    tfjob(training(trainer=CUDA, compute=BIG))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu_resource", "gpu"),
        ("gpu_resource", "amd.com/"),
        ("shared_memory", "2 GB"),
        ("priority_class", "Not a name"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_by_name(name: str, value: str) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(InvalidParameter, match=name):
        Compute(**given)


def test_knative_is_asked_for_nothing_that_stock_feature_flags_forbid() -> None:
    """KServe mounts `pvc://` itself, once Knative has made the pod; a claim of ours would need two flags."""
    predictor = inference_service(serving(), KServe((0, 21), "Knative"))["spec"]["predictor"]
    assert predictor["model"]["storageUri"].startswith("pvc://")
    assert not {"nodeSelector", "tolerations", "affinity", "priorityClassName"} & predictor.keys()
    assert [each.keys() - {"name"} for each in predictor["volumes"]] == [{"emptyDir"}]
