"""What the real CRDs and webhooks admit and refuse, asked by a server-side dry run; and how much earlier we refuse."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hyperflow.engines.kubeflow.manifests import KServe, inference_service, tfjob
from hyperflow.errors import InvalidParameter
from hyperflow.specs import Compute, Trainer
from tests.cluster.check import wait_for
from tests.cluster.crds import load_yaml
from tests.cluster.external import Target, external_cluster
from tests.cluster.world import KATIB, KSERVE, OPERATOR, RUNTIMES, TRAINER, collection, machinery, need
from tests.kubeflow.specs import serving, training
from tests.kubeflow.store import Object, Refusal
from tests.kubeflow.test_manifests import existing

pytestmark = pytest.mark.cluster

GOLDEN = {path.stem: path for path in (Path(__file__).parents[1] / "golden").glob("*.yaml")}
_PLURALS = {
    "Experiment": "experiments", "TFJob": "tfjobs", "TrainJob": "trainjobs", "InferenceService": "inferenceservices",
    "Job": "jobs", "Service": "services",
}  # fmt: skip
_OPERATORS = {"Experiment": KATIB, "TFJob": (OPERATOR,), "TrainJob": TRAINER, "InferenceService": (KSERVE,)}
_ASSIGNED = ("uid", "resourceVersion", "generation", "namespace")


def ask(item: Object) -> Object:
    """Have an object admitted without creating it; fields that the schema does not know are refused too.

    Asked is the cluster of KUBECONFIG where it has the CRDs, else our own.
    """
    target = external_cluster()
    if not isinstance(target, Target):
        need(*_OPERATORS.get(item["kind"], ()))
        target = Target(machinery().api)
        if item["kind"] == "TrainJob":
            _bring_runtimes(target)
    elif item["kind"] == "TrainJob":
        pytest.skip("what a TrainJob names is not ours to create in a cluster of KUBECONFIG")
    path = collection(target.namespace, _PLURALS[item["kind"]])
    return target.api.create(path, item, dryRun="All", fieldValidation="Strict")


def _bring_runtimes(target: Target) -> None:
    """Create what a TrainJob names, and wait until Trainer's webhook knows of it, from a watch of its own."""
    for runtime in load_yaml(RUNTIMES):
        with contextlib.suppress(Refusal):
            target.api.create(collection(target.namespace, "trainingruntimes"), runtime)

    def known() -> bool:
        try:
            target.api.create(
                collection(target.namespace, "trainjobs"),
                golden("trainjob-one"),
                dryRun="All",
                fieldValidation="Strict",
            )
        except Refusal as refusal:
            return "not found" not in refusal.message
        return True

    wait_for(known, "Trainer's webhook to know the runtimes", 30)


def golden(name: str) -> Object:
    item: Object = yaml.safe_load(GOLDEN[name].read_text())
    item["metadata"] = {key: value for key, value in item["metadata"].items() if key not in _ASSIGNED}
    item.pop("status", None)
    return item


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden_object_is_admitted(name: str) -> None:
    wanted = golden(name)
    admitted = ask(wanted)
    assert admitted["metadata"]["name"] == wanted["metadata"]["name"]


def test_canary_of_a_service_that_scales_is_admitted() -> None:
    """The new model is to have more replicas than the old one: a canary may neither have more, nor scale."""
    item = inference_service(serving(canary_percent=10, min_replicas=3, max_replicas=5), KServe(), existing())
    item["metadata"] = {key: value for key, value in item["metadata"].items() if key not in _ASSIGNED}
    (canary,) = ask(item)["spec"]["canary"]
    assert (canary["trafficPercent"], canary["predictor"]["minReplicas"]) == (0, 1)
    item["spec"]["canary"][0]["predictor"]["minReplicas"] = 3
    with pytest.raises(Refusal, match="must not exceed stable predictor minReplicas"):
        ask(item)


def test_experiment_is_refused_where_the_namespace_lacks_katibs_label() -> None:
    need(*KATIB)
    path = collection("kube-public", "experiments")
    with pytest.raises(Refusal, match="the namespace lacks label"):
        machinery().api.create(path, golden("experiment-job"), dryRun="All")


@dataclass(frozen=True)
class Wrong:
    """An object that the real server refuses, and how our users would have come to it.

    Args:
        golden: The right object that it is made from.
        place: Path of the field that is wrong.
        value: What is there; None takes the field away.
        theirs: What the server says of it.
        ours: How our specs are asked for it.
        named: The parameter that we name.
    """

    golden: str
    place: tuple[str | int, ...]
    value: Any
    theirs: str
    ours: Callable[[], object]
    named: str

    def build(self) -> Object:
        """Make the wrong object."""
        item = copy.deepcopy(golden(self.golden))
        *way, last = self.place
        parent: Any = item
        for step in way:
            parent = parent[step]
        if self.value is None:
            del parent[last]
        else:
            parent[last] = self.value
        return item


_CHIEF = ("spec", "tfReplicaSpecs", "Chief", "template", "spec", "containers", 0)
_PREDICTOR = ("spec", "predictor")
_CANARY = ("spec", "canary", 0)

WRONG = {
    "no image": Wrong(
        "tfjob-one", (*_CHIEF, "image"), None, "image: Required value",
        lambda: tfjob(training(trainer=Trainer(("train",)))), "trainer_image",
    ),
    "name with capitals": Wrong(
        "tfjob-one", ("metadata", "name"), "train-Run-1", "RFC 1123 subdomain",
        lambda: training(run_id="Run-1"), "run_id",
    ),
    "label too long": Wrong(
        "tfjob-one", ("metadata", "labels", "hyperflow.dev/run"), "r" * 64, "must be no more than 63",
        lambda: training(run_id="r" * 64), "run_id",
    ),
    "amount that is none": Wrong(
        "tfjob-one", (*_CHIEF, "resources", "limits", "cpu"), "two", "resources.limits.cpu",
        lambda: training(compute=Compute(cpu="two")), "cpu",
    ),
    "half a worker": Wrong(
        "tfjob-many", ("spec", "tfReplicaSpecs", "Worker", "replicas"), 1.5, "must be of type integer",
        lambda: training(workers=2.5), "workers",
    ),
    "time limit in words": Wrong(
        "tfjob-one", ("spec", "runPolicy", "activeDeadlineSeconds"), "1h", "must be of type integer",
        lambda: training(timeout="1h"), "timeout",
    ),
    "service name with capitals": Wrong(
        "service-standard", ("metadata", "name"), "Mnist", "RFC 1123 subdomain|invalid",
        lambda: serving(name="Mnist"), "model_name",
    ),
    "service name with a digit first": Wrong(
        "service-standard", ("metadata", "name"), "1mnist", "regex used for validation",
        lambda: serving(name="1mnist"), "model_name",
    ),
    "fewer than no replicas": Wrong(
        "service-standard", (*_PREDICTOR, "minReplicas"), -1, "MinReplicas' cannot be less than 0",
        lambda: serving(min_replicas=-1), "min_replicas",
    ),
    "more replicas at least than at most": Wrong(
        "service-standard", (*_PREDICTOR, "minReplicas"), 2, "MinReplicas' cannot be greater than MaxReplicas",
        lambda: serving(min_replicas=2), "min_replicas",
    ),
    "canary with more than all requests": Wrong(
        "service-canary-standard", (*_CANARY, "trafficPercent"), 150, "trafficPercent",
        lambda: serving(canary_percent=150), "canary_percent",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_wrong_object_is_refused_earlier_by_us_and_more_plainly(case: Wrong) -> None:
    with pytest.raises(Refusal, match=case.theirs) as theirs:
        ask(case.build())
    with pytest.raises(InvalidParameter) as ours:
        case.ours()
    assert ours.value.name == case.named
    assert f"parameter {case.named!r} cannot be" in str(ours.value)
    assert "remedy: give" in str(ours.value)
    assert len(str(ours.value)) < len(theirs.value.message)
