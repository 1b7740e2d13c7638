"""Jobs that do not come to run: nobody acts on them, or their pods cannot be made, placed or started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.engines.kubeflow.starting import Starting, hopeless
from hyperflow.errors import JobFailed, JobTimeout
from hyperflow.volume import paths
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.hand import add_pod, appeared, end, started, wait_for, warn, watched
from tests.kubeflow.kserve import SERVICES
from tests.kubeflow.operators import TFJOBS
from tests.kubeflow.specs import serving, training
from tests.kubeflow.store import Object, Refusal
from tests.kubeflow.world import NAMESPACE

TRAIN = "train-run-1"
OF_TRAIN = {"training.kubeflow.org/job-name": TRAIN}
FORBIDDEN = f'Error creating: pods "{TRAIN}-chief-0" is forbidden: '


def pod(**status: Any) -> Object:
    metadata = {"name": "p", "uid": "u", "creationTimestamp": "2026-01-01T00:00:10Z"}
    return {"metadata": {**metadata, "ownerReferences": [{"name": "job"}]}, "status": {"phase": "Pending", **status}}


def waits(reason: str) -> Object:
    return pod(containerStatuses=[{"name": "tensorflow", "state": {"waiting": {"reason": reason}}}])


def without_a_node(message: str) -> Object:
    return pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}])


def refused(message: str, when: str = "2026-01-01T00:00:05Z") -> Object:
    about = {"name": "job"}
    return {"reason": "FailedCreate", "involvedObject": about, "message": message, "lastTimestamp": when}


@pytest.mark.parametrize(
    ("item", "is_hopeless"),
    [
        (waits("ImagePullBackOff"), True),
        (waits("InvalidImageName"), True),
        (waits("CreateContainerConfigError"), True),
        (waits("ContainerCreating"), False),
        (without_a_node("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."), True),
        (
            without_a_node(
                "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: }, "
                "2 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes are available"
            ),
            True,
        ),
        (without_a_node("0/3 nodes are available: 3 node(s) had untolerated taint(s)."), True),
        (without_a_node("0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu."), False),
        (without_a_node('persistentvolumeclaim "hyperflow" not found'), True),
        (pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]), False),
        (pod(phase="Running"), False),
    ],
)
def test_what_waiting_cures_is_told_from_what_it_does_not(item: Object, is_hopeless: bool) -> None:
    assert bool(hopeless(item)) is is_hopeless


@pytest.mark.parametrize(
    ("message", "is_final"),
    [
        ('pods "p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', True),
        ('pods "p" is forbidden: maximum cpu usage per Container is 1, but limit is 2', True),
        ('pods "p" is forbidden: exceeded quota: q, requested: cpu=8, used: cpu=0, limited: cpu=4', True),
        ('pods "p" is forbidden: exceeded quota: q, requested: cpu=3,memory=1Gi, used: cpu=2, limited: cpu=4', False),
        ('pods "p" is forbidden: exceeded quota: q, requested: memory=2Gi, used: memory=0, limited: memory=1G', True),
        ('admission webhook "policy.example" denied the request: no such registry', True),
        ('Internal error occurred: failed calling webhook "x": connection refused', False),
    ],
)
def test_refusal_that_others_can_lift_is_waited_for(message: str, is_final: bool) -> None:
    starting = Starting()
    assert message in starting.see_event(refused(message))
    assert bool(starting.problem) is is_final


def test_pod_that_was_made_after_a_refusal_shows_that_it_is_over() -> None:
    starting, late = Starting(), Starting()
    starting.see_event(refused("is forbidden: x"))
    assert starting.problem
    starting.see_pod(pod())
    late.see_pod(pod())
    late.see_event(refused("is forbidden: x"))  # an old event, as a step that is started again sees it
    assert (starting.problem, late.problem) == ("", "")
    starting.see_event(refused("is forbidden: x", "2026-01-01T00:00:20Z"))
    assert starting.problem


def test_trouble_that_passes_begins_its_grace_anew() -> None:
    starting = Starting(grace=100)
    starting.see_pod(waits("ErrImagePull"))
    assert 0 < starting.seconds_left <= 100
    starting.see_pod(pod(phase="Running"))
    assert starting.seconds_left == float("inf")


class TestTraining:
    @pytest.fixture
    def engine(self, engine: KubeflowEngine) -> KubeflowEngine:
        return KubeflowEngine(cluster=engine.cluster, act_seconds=1, start_seconds=0.5)

    def test_job_that_nobody_acts_on_fails_and_names_the_operator(
        self, emulator: Emulator, engine: KubeflowEngine
    ) -> None:
        """Kubeflow 1.11 and newer leave the operator out; an upgrade leaves its kinds behind."""
        with pytest.raises(JobFailed, match=r"nothing acts on TFJob(.|\n)*Training Operator(.|\n)*1\.11") as raised:
            engine.train(training())
        assert not isinstance(raised.value, JobTimeout)
        with pytest.raises(Refusal):
            emulator.store.get(TFJOBS, NAMESPACE, TRAIN)

    def test_queued_job_that_nobody_acts_on_fails_too(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        """Kueue suspends it when it is made, with an operator or without; time in a queue counts against no limit."""
        with started(lambda: engine.train(training())) as train:
            job = appeared(emulator, TFJOBS, TRAIN)
            job["spec"]["runPolicy"]["suspend"] = True
            emulator.store.replace(TFJOBS, NAMESPACE, job)
            with pytest.raises(JobFailed, match="nothing acts on TFJob"):
                train.result(20)

    def test_time_limit_before_the_operators_is_said_to_be_one(self, engine: KubeflowEngine) -> None:
        patient = KubeflowEngine(cluster=engine.cluster, act_seconds=60)
        with pytest.raises(JobTimeout, match="had not ended after 1 s"):
            patient.train(training(timeout=1))

    def test_job_that_waits_in_a_queue_is_waited_for(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        """A queue takes none of the training's time, and a job that waits in it has been acted on."""
        with started(lambda: engine.train(training(timeout=2))) as train:
            appeared(emulator, TFJOBS, TRAIN)
            end(emulator, TFJOBS, TRAIN, "Suspended")
            with pytest.raises(TimeoutError):
                train.result(4)
            end(emulator, TFJOBS, TRAIN, "Failed")
            assert not isinstance(train.exception(20), JobTimeout)

    def test_pod_that_never_gets_its_image_fails_the_training(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
        with started(lambda: engine.train(training())) as train:
            appeared(emulator, TFJOBS, TRAIN)
            end(emulator, TFJOBS, TRAIN, "Created")
            statuses = [{"name": "tensorflow", "state": waiting}]
            add_pod(emulator, f"{TRAIN}-chief-0", OF_TRAIN, phase="Pending", containerStatuses=statuses)
            with pytest.raises(JobFailed, match=r"cannot start(.|\n)*no such image(.|\n)*may pull it") as raised:
                train.result(20)
        assert not isinstance(raised.value, JobTimeout)
        with pytest.raises(Refusal):
            emulator.store.get(TFJOBS, NAMESPACE, TRAIN)

    def test_pod_that_may_not_be_made_fails_the_training(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        """The operator sets no condition as long as it cannot create a pod: there is nothing but its event."""
        said: list[str] = []
        engine.tell = lambda progress: said.append(progress.text)
        with started(lambda: engine.train(training())) as train:
            appeared(emulator, TFJOBS, TRAIN)
            warn(emulator, TRAIN, "FailedCreatePod", FORBIDDEN + 'violates PodSecurity "restricted:latest"')
            with pytest.raises(JobFailed, match=r"cannot start(.|\n)*violates PodSecurity"):
                train.result(20)
        assert any("cannot be made" in text for text in said)

    def test_quota_that_others_use_up_is_waited_for(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        said: list[str] = []
        engine.tell = lambda progress: said.append(progress.text)
        with started(lambda: engine.train(training(timeout=4))) as train:
            appeared(emulator, TFJOBS, TRAIN)
            end(emulator, TFJOBS, TRAIN, "Created")
            message = "exceeded quota: q, requested: cpu=3, used: cpu=2, limited: cpu=4"
            warn(emulator, TRAIN, "FailedCreatePod", FORBIDDEN + message)
            wait_for(lambda: any(message in text for text in said))
            assert isinstance(train.exception(20), JobTimeout)

    def test_step_that_may_not_watch_events_goes_on_without(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        emulator.denied |= {("list", "events"), ("watch", "events")}
        with started(lambda: engine.train(training())) as train:
            watched(emulator, "tfjobs")
            end(emulator, TFJOBS, TRAIN, "Created")
            wait_for(lambda: any(r.resource == "events" for r in list(emulator.requests)))
            emulator.denied.clear()
            end(emulator, TFJOBS, TRAIN, "Failed", message="as the test asked")
            with pytest.raises(JobFailed, match="as the test asked"):
                train.result(20)


def test_service_that_nobody_acts_on_fails_and_names_kserve(emulator: Emulator, engine: KubeflowEngine) -> None:
    impatient = KubeflowEngine(cluster=engine.cluster, act_seconds=1)
    with pytest.raises(JobFailed, match=r"nothing acts on InferenceService m(.|\n)*kserve-controller-manager"):
        impatient.serve(serving(timeout=30))
    left = emulator.store.get(SERVICES, NAMESPACE, "m")
    assert "nothing acts on" in left["metadata"]["annotations"]["hyperflow.dev/failed"]


class TestEvidence:
    """What a cluster forgets an hour after a run is on the volume."""

    def test_failed_pod_is_written_down_when_it_is_seen(
        self, emulator: Emulator, engine: KubeflowEngine, root: Path
    ) -> None:
        folder = paths.failed("run-1")
        with started(lambda: engine.train(training())) as train:
            appeared(emulator, TFJOBS, TRAIN)
            end(emulator, TFJOBS, TRAIN, "Created")
            emulator.log(f"{TRAIN}-chief-0", "tensorflow", "its last words")
            ended = [{"name": "tensorflow", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]
            add_pod(emulator, f"{TRAIN}-chief-0", OF_TRAIN, phase="Failed", containerStatuses=ended)
            (path,) = wait_for(lambda: list(folder.glob(f"{TRAIN}-chief-0-*.txt")))
            assert "OOMKilled" in path.read_text()
            assert "its last words" in path.read_text()
            end(emulator, TFJOBS, TRAIN, "Failed", message="for good")
            train.exception(20)
        assert "for good" in (folder / "train.txt").read_text()

    def test_each_attempt_has_a_file_of_its_own(self, engine: KubeflowEngine) -> None:
        impatient = KubeflowEngine(cluster=engine.cluster, act_seconds=0.2)
        for _ in range(2):
            with pytest.raises(JobFailed):
                impatient.train(training())
        assert {path.name for path in paths.failed("run-1").iterdir()} == {"train.txt", "train-2.txt"}

    def test_volume_that_cannot_be_written_hides_no_failure(
        self, engine: KubeflowEngine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        paths.failed("run-1").parent.mkdir(parents=True)
        paths.failed("run-1").write_text("in the way")
        impatient = KubeflowEngine(cluster=engine.cluster, act_seconds=0.2)
        with pytest.raises(JobFailed, match="nothing acts on"):
            impatient.train(training())
        assert "not kept" in capsys.readouterr().out
