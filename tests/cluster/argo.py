"""Argo's controller for one namespace, and Workflows as KFP 2.17 makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import yaml

from tests.cluster.check import wait_for
from tests.cluster.world import ACCOUNT, World
from tests.kfp.compiler import EXECUTOR as STEP
from tests.kfp.compiler import LAUNCHER, dumped, executor_templates, load, parameters, retry_policy
from tests.kubeflow.store import Object

CONTROLLER, EXECUTOR = "workflow-controller", "argoexec"
CONFIG = "workflow-controller-configmap"

EMPTY: Object = {}
STOCK: Object = {
    "spec": {
        "ttlStrategy": {"secondsAfterCompletion": 3600},
        "templateDefaults": {"retryStrategy": {"limit": "2", "retryPolicy": "OnError"}},
    }
}
"""What KFP 2.17 puts under `workflowDefaults`."""

COPIER = ("python", "-m", "tests.cluster.launcher")
"""Puts our launcher in the place of KFP's."""


@contextmanager
def argo(world: World, defaults: Object) -> Iterator[None]:
    """Run Argo's controller for the namespace of a world, with defaults for its Workflows.

    KFP's own configuration also archives logs in an object store, of which there is none here.
    """
    cluster = world.parts.cluster
    data = {"workflowDefaults": yaml.safe_dump(defaults)} if defaults else {}
    data |= {name: yaml.safe_dump({"enabled": False}) for name in ("metricsConfig", "telemetryConfig")}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG}, "data": data}
    world.api.create(world.path("configmaps"), config)
    for plural, item in _rights().items():
        world.api.create(world.path(plural), item)
    server = cluster.start_workflow_controller(world.namespace, EXECUTOR)
    try:
        yield
    finally:
        server.stop()


def submit(world: World, name: str, run_id: str, argv: Sequence[str]) -> Object:
    """Create the Workflow of a run with one step, as KFP's API server does."""
    return world.api.create(world.path("workflows"), workflow(name, run_id, argv))


def workflow(name: str, run_id: str, argv: Sequence[str]) -> Object:
    """Return a Workflow with KFP's templates around one step; what KFP's driver finds out is given."""
    specification, platform = load("train_and_serve")
    task = specification["root"]["dag"]["tasks"]["tune"]
    given = {"pod-spec-patch": dumped(_patch(argv, platform["exec-tune"])), **retry_policy(task)}
    step = {"name": "step", "template": STEP, "arguments": parameters(given)}
    labels = {"pipeline/runid": run_id, "pipelines.kubeflow.org/v2_component": "true"}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "labels": {"pipeline/runid": run_id}},
        "spec": {
            "entrypoint": "entrypoint",
            "serviceAccountName": ACCOUNT,
            "podMetadata": {"labels": labels, "annotations": {"pipelines.kubeflow.org/v2_component": "true"}},
            "templates": [{"name": "entrypoint", "dag": {"tasks": [step]}}, *executor_templates(COPIER)],
        },
    }


def ended(world: World, name: str, seconds: float = 120) -> Object:
    """Wait for the end of a Workflow and of its pods, and return it."""

    def look() -> Object | None:
        item = world.api.get(world.path("workflows", name))
        return item if item.get("status", {}).get("phase") in ("Succeeded", "Failed", "Error") else None

    found: Object = wait_for(look, f"the end of Workflow {name}", seconds)
    wait_for(lambda: not any(pod.startswith(f"{name}-") for pod in running(world)), "the end of its pods", 60)
    return found


def running(world: World) -> list[str]:
    """Return the names of the pods that have a process."""
    return world.parts.kubelet.running(world.namespace)


def attempts(item: Object) -> list[Object]:
    """Return the nodes of a Workflow that were pods, in the order of their beginning."""
    nodes = [node for node in item["status"]["nodes"].values() if node["type"] == "Pod"]
    return sorted(nodes, key=lambda node: str(node["startedAt"]))


def _patch(argv: Sequence[str], platform: Object) -> Object:
    """Return what KFP's driver makes of a step."""
    (claim,), (empty,) = platform["pvcMount"], platform["emptyDirMounts"]
    main = {
        "name": "main",
        "image": "steps",
        "command": [LAUNCHER, "--pipeline_name", "train-and-serve", "--"],
        "args": list(argv),
        "volumeMounts": [
            {"name": "hyperflow", "mountPath": claim["mountPath"]},
            {"name": empty["volumeName"], "mountPath": empty["mountPath"]},
        ],
        "resources": {},
    }
    volumes: list[Object] = [
        {"name": "hyperflow", "persistentVolumeClaim": {"claimName": "hyperflow"}},
        {"name": empty["volumeName"], "emptyDir": {}},
    ]
    return {"containers": [main], "volumes": volumes}


def _rights() -> Mapping[str, Object]:
    """Return what Kubeflow lets the account of the steps do for Argo's executor."""
    named = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": EXECUTOR}}
    rules = [{"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": EXECUTOR}
    return {
        "roles": {**named, "kind": "Role", "rules": rules},
        "rolebindings": {
            **named, "kind": "RoleBinding", "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT}],
        },
    }  # fmt: skip
