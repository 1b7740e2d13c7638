"""Proof that the binaries work together: each check starts from objects that users write and asks for their effects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kubernetes import client as k8s

from tests.cluster.binaries import KATIB, missing
from tests.cluster.controlplane import ControlPlane, control_plane
from tests.cluster.katib import Katib

T = TypeVar("T")

NAMESPACE = "default"
EXPERIMENTS = ("kubeflow.org", "v1beta1", NAMESPACE, "experiments")
TFJOBS = ("kubeflow.org", "v1", NAMESPACE, "tfjobs")
SERVICES = ("serving.kserve.io", "v1beta1", NAMESPACE, "inferenceservices")
RUNTIMES = ("serving.kserve.io", "v1alpha1", NAMESPACE, "servingruntimes")
_ORPHAN = """
import time
from pathlib import Path
from tests.cluster.binaries import KATIB, missing
from tests.cluster.controlplane import control_plane
with control_plane(Path({cache!r})) as cluster:
    print(*(server.pid for server in cluster.servers.values()), flush=True)
    time.sleep(60)
"""


class CheckError(Exception):
    """The servers did not do what they should; the message says what was missing."""


def check_all(cache: Path) -> None:
    """Start everything that is built and prove that it works; say what had to be passed over."""
    with control_plane(cache) as cluster:
        _say(f"etcd, API server and controller manager are ready; {len(cluster.install_crds())} CRDs are served")
        for name, start, check in (
            ("training-operator", cluster.start_training_operator, check_training_operator),
            ("kserve-controller", cluster.start_kserve, check_kserve),
        ):
            if not cluster.has(name):
                _say(f"PASSED OVER: {name} is not built")
                continue
            start()
            check(cluster)
        check_katib(cluster, cache)
        check_restart(cluster)
    check_death(cache)


def check_training_operator(cluster: ControlPlane) -> None:
    """Prove that the webhook refuses a wrong TFJob, and that a right one gets pods, services and a truthful end."""
    with cluster.client() as api:
        objects, core = k8s.CustomObjectsApi(api), k8s.CoreV1Api(api)
        refusal = refused(lambda: objects.create_namespaced_custom_object(*TFJOBS, _tfjob("wrong", container="main")))
        _expect("at least one container with name tensorflow" in refusal, f"TFJob not refused for its name: {refusal}")
        objects.create_namespaced_custom_object(*TFJOBS, _tfjob("right", container="tensorflow"))
        pods = wait_for(lambda: _pods(core, "training.kubeflow.org/job-name=right", count=3), "three pods")
        tf_config = json.loads(pods[0].spec.containers[0].env[0].value)
        _expect(len(tf_config["cluster"]["worker"]) == 2, f"TF_CONFIG without both workers: {tf_config}")
        names = {"right-chief-0", "right-worker-0", "right-worker-1"}
        wait_for(lambda: names <= _services(core), "a service for each pod")
        _report(core, pods, "Running", "tensorflow")
        wait_for(lambda: _has(objects, TFJOBS, "right", "Running"), "TFJob Running")
        _report(core, pods, "Succeeded", "tensorflow")
        wait_for(lambda: _has(objects, TFJOBS, "right", "Succeeded"), "TFJob Succeeded")
    _say("Training Operator: wrong TFJob refused, right one got pods and services and ended as its pods did")


def check_kserve(cluster: ControlPlane) -> None:
    """Prove that the webhook refuses a wrong InferenceService, and that a right one becomes a Deployment and Ready."""
    with cluster.client() as api:
        objects, core = k8s.CustomObjectsApi(api), k8s.CoreV1Api(api)
        objects.create_namespaced_custom_object(*RUNTIMES, _runtime())
        wrong = _inference_service("wrong") | {"spec": {"predictor": {"minReplicas": 2, "maxReplicas": 1, "model": {}}}}
        refusal = refused(lambda: objects.create_namespaced_custom_object(*SERVICES, wrong))
        _expect("cannot be greater than MaxReplicas" in refusal, f"InferenceService not refused: {refusal}")
        objects.create_namespaced_custom_object(*SERVICES, _inference_service("right"))
        pods = wait_for(lambda: _pods(core, "serving.kserve.io/inferenceservice=right", count=1), "a predictor pod")
        container = pods[0].spec.containers[0]
        _expect("--model_name=right" in container.args, f"runtime template not filled in: {container.args}")
        mounts = {mount.mount_path: mount.sub_path for mount in container.volume_mounts}
        _expect(mounts.get("/mnt/models") == "models/right/1", f"model not mounted from its claim: {mounts}")
        _report(core, pods, "Running", "kserve-container")
        wait_for(lambda: _has(objects, SERVICES, "right", "Ready"), "InferenceService Ready")
    _say("KServe: wrong InferenceService refused, right one became a Deployment with its model and Ready")


def check_katib(cluster: ControlPlane, cache: Path) -> None:
    """Prove that the webhook refuses a wrong Experiment, and that a right one gets a suggestion service."""
    absent = [name for name in KATIB if name in missing(cache)]
    if absent:
        _say(f"PASSED OVER: Katib, for lack of {', '.join(absent)}")
        return
    katib = Katib(cluster, "http://127.0.0.1:9", cache)
    katib.launch()
    katib.start()
    cluster.label_namespace(NAMESPACE, {"katib.kubeflow.org/metrics-collector-injection": "enabled"})
    with cluster.client() as api:
        objects, apps = k8s.CustomObjectsApi(api), k8s.AppsV1Api(api)
        wrong = _experiment("wrong", algorithm="guessing")
        refusal = refused(lambda: objects.create_namespaced_custom_object(*EXPERIMENTS, wrong))
        _expect(
            "unable to get Suggestion config data" in refusal, f"Experiment not refused for its algorithm: {refusal}"
        )
        objects.create_namespaced_custom_object(*EXPERIMENTS, _experiment("right", algorithm="random"))
        (service,) = wait_for(
            lambda: apps.list_namespaced_deployment(NAMESPACE, field_selector="metadata.name=right-random").items,
            "its suggestion service",
        )
        image = service.spec.template.spec.containers[0].image
        _expect("suggestion-hyperopt" in image, f"suggestion service of another image: {image}")
    _say("Katib: wrong Experiment refused, right one got its suggestion service")


def check_restart(cluster: ControlPlane) -> None:
    """Prove that what was stored survives a killed and restarted API server."""
    server = cluster.servers["kube-apiserver"]
    server.kill()
    server.start()
    with cluster.client() as api:
        names = [space.metadata.name for space in k8s.CoreV1Api(api).list_namespace().items]
    _expect("default" in names, f"namespaces after the restart: {names}")
    _say("API server: killed and started again on the same port with what it had")


def check_death(cache: Path) -> None:
    """Prove that no server outlives a test process that is killed."""
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(
            [sys.executable, "-c", _ORPHAN.format(cache=str(cache))],
            stdout=subprocess.PIPE,
            env=os.environ | {"TMPDIR": folder},
            text=True,
        )
        assert child.stdout is not None
        pids = [int(pid) for pid in child.stdout.readline().split()]
        child.send_signal(signal.SIGKILL)
        child.wait()
        _expect(len(pids) == 3, f"servers that were running: {pids}")
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end of every server")
    _say("Processes: all ended when the process that started them was killed")


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = 30) -> T:
    """Return the first true value of `condition`.

    Raises:
        CheckError: If there is none within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise CheckError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.05)
    return value


def refused(create: Callable[[], object]) -> str:
    """Return the message with which the API server refuses `create`."""
    try:
        create()
    except k8s.ApiException as error:
        return str(json.loads(error.body)["message"])
    raise CheckError("the object was admitted")


def _pods(core: k8s.CoreV1Api, selector: str, count: int) -> list[k8s.V1Pod] | None:
    pods: list[k8s.V1Pod] = core.list_namespaced_pod(NAMESPACE, label_selector=selector).items
    return pods if len(pods) == count else None


def _services(core: k8s.CoreV1Api) -> set[str]:
    return {service.metadata.name for service in core.list_namespaced_service(NAMESPACE).items}


def _has(objects: k8s.CustomObjectsApi, kind: tuple[str, str, str, str], name: str, condition: str) -> bool:
    status = objects.get_namespaced_custom_object(*kind, name).get("status", {})
    return any(c["type"] == condition and c["status"] == "True" for c in status.get("conditions", []))


def _report(core: k8s.CoreV1Api, pods: list[k8s.V1Pod], phase: str, container: str) -> None:
    """Report the status of pods with one container, as a kubelet would."""
    running = phase == "Running"
    state: dict[str, Any] = {"running": {}} if running else {"terminated": {"exitCode": 0}}
    status = {"name": container, "image": "image", "imageID": "", "restartCount": 0, "ready": running, "state": state}
    ready = [{"type": kind, "status": str(running)} for kind in ("Ready", "ContainersReady")]
    body = {"status": {"phase": phase, "conditions": ready, "containerStatuses": [status]}}
    for pod in pods:
        core.patch_namespaced_pod_status(pod.metadata.name, NAMESPACE, body)


def _tfjob(name: str, container: str) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": container, "image": "trainer"}]}}
    replicas = {kind: {"replicas": n, "template": template} for kind, n in (("Chief", 1), ("Worker", 2))}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": name},
        "spec": {"tfReplicaSpecs": replicas},
    }


def _experiment(name: str, algorithm: str) -> dict[str, Any]:
    container = {"name": "main", "image": "trainer", "command": ["train", "--x=${trialParameters.x}"]}
    job = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}
    spec = {
        "objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
        "algorithm": {"algorithmName": algorithm},
        "parameters": [{"name": "x", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}],
        "trialTemplate": {
            "primaryContainerName": "main",
            "trialParameters": [{"name": "x", "reference": "x"}],
            "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", **job},
        },
    }
    return {"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": {"name": name}, "spec": spec}


def _runtime() -> dict[str, Any]:
    container = {"name": "kserve-container", "image": "server", "args": ["--model_name={{.Name}}"]}
    formats = [{"name": "tensorflow", "version": "2", "autoSelect": True}]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "server"},
        "spec": {"supportedModelFormats": formats, "protocolVersions": ["v1"], "containers": [container]},
    }


def _inference_service(name: str) -> dict[str, Any]:
    model = {"modelFormat": {"name": "tensorflow"}, "runtime": "server", "storageUri": f"pvc://claim/models/{name}/1"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {"serving.kserve.io/deploymentMode": "Standard"}},
        "spec": {"predictor": {"model": model}},
    }


def _expect(truth: bool, otherwise: str) -> None:
    if not truth:
        raise CheckError(otherwise)


def _say(text: str) -> None:
    print(f"[check] {text}", flush=True)
