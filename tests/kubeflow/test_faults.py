"""Each way in which a cluster is known to mislead a step, and what the step makes of it."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.engines.kubeflow.manifests import KServe, inference_service
from hyperflow.errors import Conflict, JobFailed, JobTimeout, Unavailable
from hyperflow.specs import Endpoint, ModelRef
from tests.kubeflow.emulator import Emulator, Fault, Request
from tests.kubeflow.hand import (
    add_pod,
    add_trial,
    appeared,
    end,
    started,
    succeed,
    terminated,
    wait_for,
    warn,
    watched,
)
from tests.kubeflow.katib import EXPERIMENTS
from tests.kubeflow.kserve import DEPLOYMENTS, SERVICES
from tests.kubeflow.kubelet import PODS
from tests.kubeflow.operators import TFJOBS
from tests.kubeflow.specs import model, serving, trainer, training, tuning
from tests.kubeflow.store import Object, Refusal
from tests.kubeflow.world import NAMESPACE, engine_on, kubeconfig

TUNE, TRAIN = "tune-run-1", "train-run-1"
OF_TRAIN = {"training.kubeflow.org/job-name": TRAIN}
CHIEF = {**OF_TRAIN, "training.kubeflow.org/job-role": "master", "training.kubeflow.org/replica-type": "chief"}

STEP = """
import sys
from hyperflow.engines.kubeflow import KubeflowEngine
from tests.kubeflow.specs import trainer, training, tuning
engine = KubeflowEngine()
verb, seconds = sys.argv[1], sys.argv[2]
if verb == "tune":
    print(engine.tune(tuning(trainer=trainer(pause=seconds))))
else:
    print(engine.train(training(trainer=trainer(pause=seconds))))
"""


def created(emulator: Emulator, plural: str) -> int:
    made = [request for request in emulator.requests if request.verb == "create" and request.is_kept]
    return sum(request.resource == plural for request in made)


def requests_of(emulator: Emulator, verb: str, plural: str) -> list[Request]:
    return [request for request in emulator.requests if (request.verb, request.resource) == (verb, plural)]


def save_model(root: Path) -> None:
    folder = root / "models" / "line" / "run-1" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"a model")


class TestRetriedSteps:
    @pytest.mark.parametrize(("verb", "plural"), [("tune", "experiments"), ("train", "tfjobs")])
    def test_killed_step_is_taken_up_where_it_was(
        self, emulator: Emulator, operators: None, tmp_path: Path, verb: str, plural: str
    ) -> None:
        engine = engine_on(emulator, tmp_path)
        step = subprocess.Popen([sys.executable, "-c", STEP, verb, "0.3"], cwd=Path(__file__).parents[2])
        wait_for(lambda: created(emulator, plural), 30)
        step.send_signal(signal.SIGKILL)
        step.wait(10)
        if verb == "tune":
            assert engine.tune(tuning(trainer=trainer(pause=0.3))).best.value
        else:
            assert engine.train(training(trainer=trainer(pause=0.3))).metrics["epoch"] == 3
        items, _ = emulator.store.select(("kubeflow.org", plural), NAMESPACE)
        assert len(items) == 1

    def test_object_of_another_owner_is_refused_and_untouched(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        foreign = emulator.store.create(EXPERIMENTS, NAMESPACE, {"metadata": {"name": TUNE}, "spec": {"theirs": 1}})
        with pytest.raises(Conflict, match="not made by Hyperflow"):
            engine.tune(tuning())
        assert emulator.store.get(EXPERIMENTS, NAMESPACE, TUNE) == foreign

    def test_object_of_another_run_is_refused(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        labels = {"hyperflow.dev/run": "another"}
        emulator.store.create(TFJOBS, NAMESPACE, {"metadata": {"name": TRAIN, "labels": labels}, "spec": {}})
        with pytest.raises(Conflict, match="belongs to run another"):
            engine.train(training())

    def test_foreign_service_is_refused_and_untouched(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        foreign = emulator.store.create(SERVICES, NAMESPACE, {"metadata": {"name": "m"}, "spec": {"predictor": {}}})
        with pytest.raises(Conflict, match="did not make it"):
            engine.serve(serving())
        assert engine.serving("m") is None
        assert emulator.store.get(SERVICES, NAMESPACE, "m") == foreign

    def test_step_owns_what_it_makes_through_its_workflow(
        self, emulator: Emulator, engine: KubeflowEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KFP_POD_NAME", "step-pod")
        owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "flow", "uid": "u-1"}
        metadata = {"name": "step-pod", "ownerReferences": [{**owner, "controller": True}]}
        emulator.store.create(PODS, NAMESPACE, {"metadata": metadata, "spec": {"containers": []}})
        with started(lambda: engine.tune(tuning())) as tune:
            assert appeared(emulator, EXPERIMENTS, TUNE)["metadata"]["ownerReferences"] == [owner]
            succeed(emulator)
            tune.result(10)


class TestFalseSuccess:
    def test_all_trials_failed_although_the_experiment_succeeded(
        self, emulator: Emulator, engine: KubeflowEngine
    ) -> None:
        with started(lambda: engine.tune(tuning())) as tune:
            appeared(emulator, EXPERIMENTS, TUNE)
            add_trial(emulator, f"{TUNE}-a", "unavailable", "Failed")
            end(emulator, EXPERIMENTS, TUNE, "Succeeded")
            with pytest.raises(JobFailed, match=r"without a best trial(.|\n)*1 of 1 trials failed"):
                tune.result(10)

    @pytest.mark.parametrize("value", ["nan", "unavailable", "", "inf", "-1e9"])
    def test_optimal_trial_without_a_finite_value(self, emulator: Emulator, engine: KubeflowEngine, value: str) -> None:
        with started(lambda: engine.tune(tuning())) as tune:
            appeared(emulator, EXPERIMENTS, TUNE)
            succeed(emulator, value)
            with pytest.raises(JobFailed, match="no finite validation-accuracy"):
                tune.result(10)

    def test_suggestion_that_failed_says_why(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        with started(lambda: engine.tune(tuning())) as tune:
            appeared(emulator, EXPERIMENTS, TUNE)
            suggestions = ("kubeflow.org", "suggestions")
            emulator.store.create(suggestions, NAMESPACE, {"metadata": {"name": TUNE}})
            end(emulator, suggestions, TUNE, "Failed", message="unknown setting: warp")
            end(emulator, EXPERIMENTS, TUNE, "Failed", message="Suggestion has failed")
            with pytest.raises(JobFailed, match=r"Suggestion has failed(.|\n)*unknown setting: warp"):
                tune.result(10)

    def test_training_that_has_both_failed_and_succeeded_has_failed(
        self, emulator: Emulator, engine: KubeflowEngine, root: Path
    ) -> None:
        save_model(root)
        with started(lambda: engine.train(training())) as train:
            appeared(emulator, TFJOBS, TRAIN)
            end(emulator, TFJOBS, TRAIN, "Failed", "Succeeded", message="a worker failed")
            with pytest.raises(JobFailed, match="a worker failed"):
                train.result(10)

    @pytest.mark.parametrize(
        ("code", "reason", "remedy"), [(1, "Error", "mend the cause"), (137, "OOMKilled", "memory")]
    )
    def test_failed_worker_is_explained(
        self, emulator: Emulator, engine: KubeflowEngine, code: int, reason: str, remedy: str
    ) -> None:
        with started(lambda: engine.train(training(workers=2, retries=0))) as train:
            appeared(emulator, TFJOBS, TRAIN)
            name = f"{TRAIN}-worker-0"
            add_pod(emulator, name, OF_TRAIN, phase="Failed", containerStatuses=terminated(code, reason))
            emulator.log(name, "tensorflow", "its last words")
            warn(emulator, name, "BackOff", "restarting failed container")
            end(emulator, TFJOBS, TRAIN, "Failed", message="1 Worker replica(s) failed.")
            with pytest.raises(JobFailed, match=remedy) as raised:
                train.result(10)
        for part in (f"exit code {code}", reason, "its last words", "BackOff", "1 Worker replica(s) failed."):
            assert part in str(raised.value)

    def test_training_that_was_deleted_has_failed(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        with started(lambda: engine.train(training())) as train:
            appeared(emulator, TFJOBS, TRAIN)
            watched(emulator, "tfjobs")
            emulator.store.delete(TFJOBS, NAMESPACE, TRAIN)
            with pytest.raises(JobFailed, match="was deleted"):
                train.result(10)

    def test_pod_that_cannot_start_is_told_while_waiting(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        said: list[str] = []
        engine.tell = lambda progress: said.append(progress.text)
        waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
        with started(lambda: engine.train(training())) as train:
            appeared(emulator, TFJOBS, TRAIN)
            statuses = [{"name": "tensorflow", "state": {"waiting": waiting}}]
            add_pod(emulator, f"{TRAIN}-chief-0", CHIEF, phase="Pending", containerStatuses=statuses)
            wait_for(lambda: any("ImagePullBackOff no such image" in text for text in said))
            end(emulator, TFJOBS, TRAIN, "Failed")
            assert "may pull it" in str(train.exception(10))

    def test_time_limit_names_what_was_waited_for_and_deletes_the_job(
        self, emulator: Emulator, engine: KubeflowEngine
    ) -> None:
        with started(lambda: engine.train(training(timeout=2))) as train:
            appeared(emulator, TFJOBS, TRAIN)
            add_pod(emulator, f"{TRAIN}-chief-0", CHIEF, phase="Pending")
            warn(emulator, f"{TRAIN}-chief-0", "FailedScheduling", "0/3 nodes: Insufficient nvidia.com/gpu")
            with pytest.raises(JobTimeout, match=r"chief-0 is Pending(.|\n)*Insufficient nvidia(.|\n)*or add nodes"):
                train.result(10)
        with pytest.raises(Refusal):
            emulator.store.get(TFJOBS, NAMESPACE, TRAIN)


class TestServices:
    def make(self, emulator: Emulator, change: int, updated: int = 1, **status: object) -> None:
        """Set what KServe says of `m`, which of our changes its Deployment is made from, and how far that is."""
        metadata = {"name": "m-predictor", "labels": {"serving.kserve.io/inferenceservice": "m"}}
        template = {"metadata": {"annotations": {"hyperflow.dev/change": str(change)}}}
        wanted: Object = {"metadata": metadata, "spec": {"replicas": 1, "template": template}}
        try:
            deployment = emulator.store.replace(DEPLOYMENTS, NAMESPACE, wanted)
        except Refusal:
            deployment = emulator.store.create(DEPLOYMENTS, NAMESPACE, wanted)
        observed = deployment["metadata"]["generation"]
        counts = {"replicas": 1, "updatedReplicas": updated, "availableReplicas": 1, "observedGeneration": observed}
        emulator.store.set_status(DEPLOYMENTS, NAMESPACE, "m-predictor", **counts)
        ready: Object = {"conditions": [{"type": "Ready", "status": "True"}], "url": f"{emulator.url}/nowhere"}
        # KServe sets it to the Deployment's own, which may be ahead of the service's generation or behind it
        emulator.store.set_status(SERVICES, NAMESPACE, "m", observedGeneration=observed + 7, **{**ready, **status})

    def test_ready_before_kserve_has_acted_does_not_count(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.serve_first(emulator, engine)
        with started(lambda: engine.serve(serving(model=model("run-2"), timeout=2))) as serve:
            wait_for(lambda: emulator.store.get(SERVICES, NAMESPACE, "m")["metadata"]["generation"] == 2)
            with pytest.raises(JobTimeout, match="KServe to take this change up in Deployment m-predictor"):
                serve.result(10)

    def test_ready_while_the_rollout_goes_on_does_not_count(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.serve_first(emulator, engine)
        with started(lambda: engine.serve(serving(model=model("run-2"), timeout=2))) as serve:
            wait_for(lambda: emulator.store.get(SERVICES, NAMESPACE, "m")["metadata"]["generation"] == 2)
            self.make(emulator, 2, updated=0)
            with pytest.raises(JobTimeout, match="waited for Deployment m-predictor"):
                serve.result(10)

    def test_ready_on_the_old_revision_does_not_count(
        self, emulator: Emulator, engine: KubeflowEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HYPERFLOW_DEPLOYMENT_MODE", "Knative")
        revisions = {"latestCreatedRevision": "m-2", "latestReadyRevision": "m-1"}
        with started(lambda: engine.serve(serving(timeout=2))) as serve:
            appeared(emulator, SERVICES, "m")
            self.make(emulator, 1, components={"predictor": revisions})
            with pytest.raises(JobTimeout, match="revision m-2"):
                serve.result(10)

    def test_revision_of_the_model_before_does_not_count(
        self, emulator: Emulator, engine: KubeflowEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HYPERFLOW_DEPLOYMENT_MODE", "Knative")
        revisions = {"latestCreatedRevision": "m-1", "latestReadyRevision": "m-1"}
        self.serve_first(emulator, engine, components={"predictor": revisions})
        with started(lambda: engine.serve(serving(model=model("run-2"), timeout=2))) as serve:
            wait_for(lambda: emulator.store.get(SERVICES, NAMESPACE, "m")["metadata"]["generation"] == 2)
            self.make(emulator, 2)
            with pytest.raises(JobTimeout, match="a revision after m-1"):
                serve.result(10)

    def test_model_that_does_not_load_fails_with_its_reason(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        failure = {"reason": "ModelLoadFailed", "message": "no SavedModel in /mnt/models", "exitCode": 1}
        status = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": failure}
        with started(lambda: engine.serve(serving())) as serve:
            appeared(emulator, SERVICES, "m")
            conditions = [{"type": "Ready", "status": "False", "reason": "PredictorNotReady"}]
            self.make(emulator, 1, updated=0, modelStatus=status, conditions=conditions)
            with pytest.raises(JobFailed, match=r"cannot be served(.|\n)*ModelLoadFailed(.|\n)*no SavedModel"):
                serve.result(10)

    def test_model_that_does_not_load_beside_one_that_serves_fails_before_the_time_limit(
        self, emulator: Emulator, engine: KubeflowEngine, operators: None, root: Path
    ) -> None:
        self.save(root, "run-1")
        good = engine.serve(serving())
        begun = time.monotonic()
        with pytest.raises(JobFailed, match=r"cannot be served(.|\n)*exit code 1(.|\n)*cannot load a model") as raised:
            engine.serve(serving(model=model("run-2"), timeout=60))
        assert not isinstance(raised.value, JobTimeout)
        assert time.monotonic() - begun < 20
        now = engine.serving("m")
        assert now is not None
        assert now.model == good.model

    def test_new_pod_without_its_image_fails_and_says_so(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
        with self.replacing(emulator, engine) as serve:
            self.add_pod_of(emulator, model("run-2"), state=waiting)
            with pytest.raises(JobFailed, match=r"cannot be served(.|\n)*no such image(.|\n)*may pull it") as raised:
                serve.result(10)
        assert not isinstance(raised.value, JobTimeout)

    def test_single_crash_of_a_new_pod_does_not_count(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        ended = {"terminated": {"exitCode": 1}}
        with self.replacing(emulator, engine) as serve:
            self.add_pod_of(emulator, model("run-2"), state={"running": {}}, restartCount=1, lastState=ended)
            assert isinstance(serve.exception(10), JobTimeout)

    def test_crashes_of_a_pod_of_the_model_before_do_not_count(
        self, emulator: Emulator, engine: KubeflowEngine
    ) -> None:
        ended = {"terminated": {"exitCode": 1}}
        with self.replacing(emulator, engine) as serve:
            self.add_pod_of(emulator, model("run-1"), state={"running": {}}, restartCount=9, lastState=ended)
            assert isinstance(serve.exception(10), JobTimeout)

    def test_first_crash_may_pass(
        self, emulator: Emulator, engine: KubeflowEngine, operators: None, root: Path
    ) -> None:
        self.save(root, "run-1")
        patient = KubeflowEngine(cluster=engine.cluster, grace=20)
        with started(lambda: patient.serve(serving())) as serve:
            appeared(emulator, SERVICES, "m")
            emulator.store.set_status(SERVICES, NAMESPACE, "m", modelStatus={"transitionStatus": "BlockedByFailedLoad"})
            assert serve.result(20).model == model()

    def test_door_that_turns_the_step_away_is_explained(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        emulator.faults.append(Fault(403, lambda request: request.path.startswith("/mesh"), times=9, reason="RBAC"))
        with started(lambda: engine.serve(serving())) as serve:
            appeared(emulator, SERVICES, "m")
            self.make(emulator, 1, url=f"{emulator.url}/mesh")
            with pytest.raises(
                JobFailed, match=r"answers 403(.|\n)*the service itself is ready(.|\n)*AuthorizationPolicy"
            ):
                serve.result(10)

    def test_changed_in_between_is_read_again(
        self, emulator: Emulator, engine: KubeflowEngine, operators: None, root: Path
    ) -> None:
        self.save(root, "run-1")
        self.save(root, "run-2")
        engine.serve(serving())
        emulator.faults.append(Fault(409, lambda request: request.verb == "update", reason="Conflict"))
        assert engine.serve(serving(model=model("run-2"))).model == model("run-2")

    @contextmanager
    def replacing(self, emulator: Emulator, engine: KubeflowEngine) -> Iterator[Future[Endpoint]]:
        """Replace the model of a service that goes on being ready while the new pod is not."""
        self.serve_first(emulator, engine)
        with started(lambda: engine.serve(serving(model=model("run-2"), timeout=3))) as serve:
            wait_for(lambda: emulator.store.get(SERVICES, NAMESPACE, "m")["metadata"]["generation"] == 2)
            self.make(emulator, 2, updated=0, modelStatus={"transitionStatus": "UpToDate"})
            yield serve

    def add_pod_of(self, emulator: Emulator, served: ModelRef, **container: Any) -> None:
        """Add a pod that serves a model, with the state of its container."""
        live = emulator.store.get(SERVICES, NAMESPACE, "m")
        annotations = inference_service(serving(model=served), KServe(), live)["metadata"]["annotations"]
        labels = {"serving.kserve.io/inferenceservice": "m"}
        spec = {"containers": [{"name": "kserve-container"}]}
        pod = {"metadata": {"name": "m-predictor-1", "labels": labels, "annotations": annotations}, "spec": spec}
        emulator.store.create(PODS, NAMESPACE, pod)
        statuses = [{"name": "kserve-container", **container}]
        emulator.store.set_status(PODS, NAMESPACE, "m-predictor-1", phase="Running", containerStatuses=statuses)

    def serve_first(self, emulator: Emulator, engine: KubeflowEngine, **status: Any) -> None:
        """Have the service in the state in which KServe leaves one that is ready."""
        emulator.faults.append(Fault(200, lambda request: request.path.startswith("/nowhere")))  # it answers once
        with started(lambda: engine.serve(serving(timeout=10))) as serve:
            appeared(emulator, SERVICES, "m")
            self.make(emulator, 1, **status)
            assert serve.result(10).model == model()
        assert engine.serving("m") is not None

    def save(self, root: Path, run_id: str) -> None:
        folder = root / "models" / "m" / run_id / "1"
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"a model")


class TestApiServer:
    @pytest.mark.parametrize("status", [429, 500, 503, 0])
    def test_passing_refusal_of_a_creation_makes_one_object(
        self, emulator: Emulator, engine: KubeflowEngine, status: int
    ) -> None:
        headers = {"Retry-After": "1"} if status == 429 else {}
        fault = Fault(status, lambda request: request.verb == "create" and request.is_kept, times=2, headers=headers)
        emulator.faults.append(fault)
        begun = time.monotonic()
        with started(lambda: engine.tune(tuning())) as tune:
            appeared(emulator, EXPERIMENTS, TUNE)
            succeed(emulator)
            assert tune.result(20).best.value == 0.9
        assert created(emulator, "experiments") == 3
        assert status != 429 or time.monotonic() - begun >= 2

    def test_creation_whose_answer_was_lost_is_adopted(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        """The server had created the object before the connection broke: the second try meets a 409."""
        with started(lambda: engine.tune(tuning())) as tune:
            appeared(emulator, EXPERIMENTS, TUNE)
            with started(lambda: engine.tune(tuning())) as again:
                wait_for(lambda: created(emulator, "experiments") == 2)
                succeed(emulator)
                assert tune.result(10) == again.result(10)

    @pytest.mark.parametrize("status", [410, 429, 500, 503, 0])
    def test_watch_that_is_refused_goes_on(self, emulator: Emulator, engine: KubeflowEngine, status: int) -> None:
        reason = "Expired" if status == 410 else "InternalError"
        ours = ("watch", "experiments")
        fault = Fault(status, lambda request: (request.verb, request.resource) == ours, times=2, reason=reason)
        emulator.faults.append(fault)
        with started(lambda: engine.tune(tuning())) as tune:
            watched(emulator, "experiments", 3)
            succeed(emulator)
            assert tune.result(20).best.value == 0.9

    def test_history_that_was_forgotten_is_listed_anew(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        with started(lambda: engine.tune(tuning())) as tune:
            watched(emulator, "experiments")
            emulator.store.forget()
            wait_for(lambda: len(requests_of(emulator, "list", "experiments")) == 2)
            succeed(emulator)
            assert tune.result(10).best.value == 0.9

    def test_end_during_an_outage_is_seen_after_it(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        with started(lambda: engine.tune(tuning())) as tune:
            watched(emulator, "experiments")
            emulator.outage(4)
            succeed(emulator)
            assert tune.result(30).best.value == 0.9

    def test_job_deleted_during_an_outage_is_missed(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        with started(lambda: engine.train(training())) as train:
            watched(emulator, "tfjobs")
            emulator.outage(1)
            emulator.store.delete(TFJOBS, NAMESPACE, TRAIN)
            emulator.store.forget()
            with pytest.raises(JobFailed, match="was deleted"):
                train.result(20)

    def test_rotated_token_is_read_again(self, emulator: Emulator, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text("first")
        emulator.token = "first"
        engine = engine_on(emulator, tmp_path, token_file=token)
        with started(lambda: engine.tune(tuning())) as tune:
            watched(emulator, "experiments")
            emulator.token = "second"
            token.write_text("second")
            emulator.drop_connections()
            watched(emulator, "experiments", 2)  # another watch may have read the token first
            succeed(emulator)
            assert tune.result(20).best.value == 0.9

    def test_token_that_stays_wrong_is_refused_at_once(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        emulator.token = "another"
        with pytest.raises(Exception, match=r"401(.|\n)*log in"):
            engine.tune(tuning())

    def test_missing_right_is_named_with_its_remedy(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        emulator.denied.add(("create", "experiments"))
        with pytest.raises(Exception, match=r"403(.|\n)*manifests/"):
            engine.tune(tuning())

    def test_server_that_never_answers_is_given_up(self, emulator: Emulator, tmp_path: Path) -> None:
        engine = engine_on(emulator, tmp_path, patience=1)
        emulator.outage(60)
        with pytest.raises(Unavailable, match="did not answer"):
            engine.tune(tuning())

    def test_no_cluster_is_said_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
        with pytest.raises(Unavailable, match="no Kubernetes cluster"):
            KubeflowEngine().reap()


class TestPromptness:
    def test_end_is_seen_within_a_second(self, emulator: Emulator, tmp_path: Path) -> None:
        delays = []
        for number in range(30):
            run_id = f"run-{number}"
            engine = engine_on(emulator, tmp_path)
            with started(partial(engine.train, training(run_id=run_id))) as train:
                watched(emulator, "tfjobs", number + 1)
                ended = time.monotonic()
                end(emulator, TFJOBS, f"train-{run_id}", "Failed")
                assert isinstance(train.exception(10), JobFailed)
                delays.append(time.monotonic() - ended)
        assert statistics.quantiles(delays, n=100)[98] < 1

    def test_silence_costs_no_requests(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        emulator.bookmark_seconds = 0.5
        with started(lambda: engine.train(training())) as train:
            watched(emulator, "tfjobs")
            watched(emulator, "pods")
            watched(emulator, "events")
            before = len(emulator.requests)
            time.sleep(3)
            assert len(emulator.requests) == before
            timeouts = [
                int(request.query["timeoutSeconds"]) for request in emulator.requests if request.verb == "watch"
            ]
            assert sum(60 / seconds for seconds in timeouts) <= 1  # so many watches a minute
            end(emulator, TFJOBS, TRAIN, "Failed")
            assert isinstance(train.exception(10), JobFailed)


class TestReap:
    @pytest.mark.parametrize(
        ("phase", "uid", "reaped"),
        [
            ("Running", "u", False),
            ("Failed", "u", True),
            ("Succeeded", "u", True),
            ("Running", "w", True),
            (None, "u", True),
        ],
    )
    def test_job_goes_with_its_workflow(
        self, emulator: Emulator, engine: KubeflowEngine, phase: str | None, uid: str, reaped: bool
    ) -> None:
        workflow = ("argoproj.io", "workflows")
        made = {"metadata": {"uid": "x"}}
        if phase:
            made = emulator.store.create(workflow, NAMESPACE, {"metadata": {"name": "flow"}})
            emulator.store.set_status(workflow, NAMESPACE, "flow", phase=phase)
        owner = {"kind": "Workflow", "name": "flow", "uid": made["metadata"]["uid"] if uid == "u" else "other"}
        labels = {"app.kubernetes.io/managed-by": "hyperflow"}
        metadata = {"name": TRAIN, "labels": labels, "ownerReferences": [owner]}
        emulator.store.create(TFJOBS, NAMESPACE, {"metadata": metadata})
        assert engine.reap() == ([f"TFJob {TRAIN}"] if reaped else [])

    def test_ended_jobs_foreign_ones_and_those_started_by_hand_stay(
        self, emulator: Emulator, engine: KubeflowEngine
    ) -> None:
        owner = {"kind": "Workflow", "name": "flow", "uid": "gone"}
        ours = {"app.kubernetes.io/managed-by": "hyperflow"}
        jobs: dict[str, Object] = {
            "ended": {"labels": ours, "ownerReferences": [owner]},
            "foreign": {"ownerReferences": [owner]},
            "by-hand": {"labels": ours},
        }
        for name, metadata in jobs.items():
            emulator.store.create(TFJOBS, NAMESPACE, {"metadata": {"name": name, **metadata}})
        end(emulator, TFJOBS, "ended", "Succeeded")
        assert engine.reap() == []


def test_cluster_without_katib_is_reaped_too(emulator: Emulator, engine: KubeflowEngine) -> None:
    del emulator.kinds["kubeflow.org/v1beta1"]
    assert engine.reap() == []


def test_kubeconfig_names_the_namespace(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(emulator, tmp_path)))
    assert KubeflowEngine().cluster.namespace == NAMESPACE
