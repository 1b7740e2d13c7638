"""The stand-in for a kubelet, where it plays pods with init containers, volumes and namespaces of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes import client as k8s
from kubernetes.stream import stream

from tests.cluster.check import wait_for
from tests.cluster.isolated import can_isolate
from tests.cluster.world import ACCOUNT, World
from tests.kubeflow.store import Object, Refusal

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

NAME = "isolated"
WAITS = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done"


@pytest.fixture(autouse=True)
def needed() -> None:
    if not can_isolate():
        pytest.skip("this machine lets us make no mount and process namespaces")


def start(world: World, script: str, **spec: object) -> None:
    """Create a pod of a Workflow, with a script in its main container."""
    flow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "flow"}, "spec": {}}
    made = world.api.create(world.path("workflows"), flow)
    owner = {"apiVersion": flow["apiVersion"], "kind": "Workflow", "name": "flow", "uid": made["metadata"]["uid"]}
    mounts = [
        {"name": "shared", "mountPath": "/var/run/somewhere/else"},
        {"name": "shared", "mountPath": "/tmp", "subPath": "1"},
        {"name": "claim", "mountPath": "/mnt/hyperflow"},
    ]
    env = [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "TEAM", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['team']"}}},
        {"name": "GREETING", "value": "hello $(TEAM)"},
    ]
    first = {"name": "first", "image": "image", "command": ["sh", "-c", "echo $POD > /tmp/name"]}
    main = {"name": "main", "image": "image", "command": ["sh", "-c", script]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "labels": {"team": "red"}, "ownerReferences": [owner]},
        "spec": {
            "serviceAccountName": ACCOUNT,
            "restartPolicy": "Never",
            "volumes": [
                {"name": "shared", "emptyDir": {}},
                {"name": "claim", "persistentVolumeClaim": {"claimName": "hyperflow"}},
            ],
            "initContainers": [{**first, "env": env, "volumeMounts": mounts}],
            "containers": [{**main, "env": env, "volumeMounts": mounts}],
            **spec,
        },
    }
    world.api.create(world.path("pods"), pod)


def status(world: World) -> Object:
    found: Object = world.api.get(world.path("pods", NAME)).get("status", {})
    return found


def ended(world: World) -> Object:
    """Wait for the pod's end and return how its main container ended."""
    phase = ("Succeeded", "Failed")
    wait_for(lambda: status(world).get("phase") in phase, "the pod's end", 60)
    terminated: Object = status(world)["containerStatuses"][0]["state"]["terminated"]
    return terminated


def lines(world: World) -> list[str]:
    log = world.parts.kubelet.logs.find(world.namespace, NAME, "main")
    return [] if log is None else list(log.lines)


def test_containers_share_volumes_and_see_nothing_else_of_each_other(world: World) -> None:
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    script = (
        "cat /tmp/name; echo $GREETING; stat -c %a /tmp /var/run/somewhere/else; "
        f"test -s {token} && echo token; echo $$$$; touch /mnt/hyperflow/there; "
        "echo why > /dev/termination-log; exit 139"
    )
    start(world, script)
    terminated = ended(world)
    assert lines(world) == [NAME, "hello red", "777", "777", "token", "1"]
    assert (terminated["exitCode"], terminated["message"]) == (139, "why\n")
    assert (world.volume / "there").exists()
    assert not Path("/var/run/somewhere").exists()
    assert status(world)["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


def test_main_container_does_not_start_after_a_failed_init_container(world: World) -> None:
    fails = {"name": "first", "image": "image", "command": ["sh", "-c", "exit 3"]}
    start(world, "echo never", initContainers=[fails])
    wait_for(lambda: status(world).get("phase") == "Failed", "the pod's end", 60)
    assert "waiting" in status(world)["containerStatuses"][0]["state"]
    assert lines(world) == []


def test_deadline_ends_the_pod_and_is_its_reason(world: World) -> None:
    start(world, WAITS, activeDeadlineSeconds=3)
    assert ended(world)["exitCode"] == 7
    assert status(world)["reason"] == "DeadlineExceeded"


def test_deleted_pod_is_told_to_end_and_shows_its_end_before_it_goes(world: World) -> None:
    start(world, WAITS)
    wait_for(lambda: "ready" in lines(world), "the script", 60)
    world.api.delete(world.path("pods", NAME))
    seen: list[str] = []

    def is_gone() -> bool:
        try:
            seen.append(status(world).get("phase", ""))
        except Refusal:
            return True
        return False

    wait_for(is_gone, "the end of the pod", 60)
    assert "Running" in seen


def test_command_runs_inside_a_container(world: World) -> None:
    """What `kubectl exec` does, and Argo's controller to end a step."""
    start(world, WAITS)
    wait_for(lambda: "ready" in lines(world), "the script", 60)
    with world.parts.cluster.client() as api:
        # In this version the API server speaks SPDY with the kubelet, as it does for Argo, whatever its client speaks.
        api.set_default_header("sec-websocket-protocol", "v5.channel.k8s.io")
        call = k8s.CoreV1Api(api).connect_get_namespaced_pod_exec
        words = ["sh", "-c", "cat /tmp/name; echo $GREETING >&2; exit 5"]
        options = {"command": words, "container": "main", "stdout": True, "stderr": True, "_preload_content": False}
        answer = stream(call, NAME, world.namespace, **options)
        answer.run_forever(timeout=30)
        assert (answer.read_stdout(), answer.read_stderr()) == (f"{NAME}\n", "hello red\n")
        assert answer.returncode == 5
        stream(call, NAME, world.namespace, **(options | {"command": ["sh", "-c", "kill -TERM 1"]})).run_forever(30)
    assert ended(world)["exitCode"] == 7
    assert status(world)["phase"] == "Failed"
