"""What carries out a training, by what the cluster has; and what each of them cannot do, refused before it is made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine, backends
from hyperflow.errors import Conflict, InvalidParameter, JobFailed, Unavailable
from hyperflow.specs import Compute, Trainer
from tests.kubeflow.emulator import Emulator, Fault
from tests.kubeflow.specs import LINE, training
from tests.kubeflow.store import Object
from tests.kubeflow.world import NAMESPACE

JOBS, TRAINJOBS, TFJOBS = ("batch", "jobs"), ("trainer.kubeflow.org", "trainjobs"), ("kubeflow.org", "tfjobs")
SERVICES, PODS = ("", "services"), ("", "pods")
MADE = (JOBS, TRAINJOBS, TFJOBS, SERVICES)
EACH = pytest.mark.parametrize("backend", ["tfjob", "trainjob", "job"])


def items(emulator: Emulator, *kinds: tuple[str, str]) -> list[Object]:
    return [item for kind in kinds for item in emulator.store.select(kind, NAMESPACE)[0]]


def remove(emulator: Emulator, *plurals: str) -> None:
    """Uninstall kinds, and what looks after them."""
    emulator.kinds = {
        group: tuple(kind for kind in kinds if kind not in plurals) for group, kinds in emulator.kinds.items()
    }


class TestChoice:
    def test_tfjob_where_its_operator_answers(self, engine: KubeflowEngine) -> None:
        choice = backends.choose(engine.cluster, training(training_backend="auto"))
        assert choice.backend.name == "tfjob"
        assert "webhook of tfjobs answers" in choice.reason

    def test_kinds_left_by_an_operator_that_is_gone_do_not_count(
        self, emulator: Emulator, engine: KubeflowEngine
    ) -> None:
        del emulator.webhooks["tfjobs"]
        choice = backends.choose(engine.cluster, training(training_backend="auto"))
        assert choice.backend.name == "trainjob"

    def test_webhook_that_does_not_answer_counts_as_gone(
        self, emulator: Emulator, engine: KubeflowEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hyperflow.engines.kubeflow.probes._PATIENCE", 0.5)
        emulator.faults.append(Fault(500, lambda r: r.verb == "create" and r.resource == "tfjobs", times=99))
        assert backends.choose(engine.cluster, training(training_backend="auto")).backend.name == "trainjob"

    def test_job_where_there_is_no_operator_at_all(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        remove(emulator, "tfjobs", "trainjobs")
        choice = backends.choose(engine.cluster, training(training_backend="auto"))
        assert choice.backend.name == "job"
        assert "neither TFJobs nor TrainJobs" in choice.reason

    def test_trainer_before_runtime_patches_is_not_used(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        """An older API server would drop the field, and with it the volume, without a word."""
        del emulator.webhooks["tfjobs"]
        emulator.unknown.add("runtimePatches")
        choice = backends.choose(engine.cluster, training(training_backend="auto"))
        assert choice.backend.name == "job"
        assert "runtimePatches" in choice.reason
        with pytest.raises(Unavailable, match="runtimePatches"):
            engine.train(training(training_backend="trainjob"))
        assert items(emulator, *MADE) == []

    def test_nothing_is_kept_of_the_question(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        backends.choose(engine.cluster, training(training_backend="auto"))
        assert items(emulator, *MADE) == []

    def test_retry_goes_on_with_what_the_first_attempt_chose(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        labels = {"hyperflow.dev/run": "run-1"}
        emulator.store.create(JOBS, NAMESPACE, {"metadata": {"name": "train-run-1", "labels": labels}, "spec": {}})
        assert backends.choose(engine.cluster, training(training_backend="auto")).backend.name == "job"

    @pytest.mark.parametrize(("backend", "plural"), [("tfjob", "tfjobs"), ("trainjob", "trainjobs")])
    def test_wish_that_the_cluster_cannot_grant_is_refused(
        self, emulator: Emulator, engine: KubeflowEngine, backend: str, plural: str
    ) -> None:
        remove(emulator, plural)
        with pytest.raises(Unavailable, match="training_backend=job") as raised:
            engine.train(training(training_backend=backend))
        assert plural in raised.value.why
        assert items(emulator, *MADE) == []


@pytest.mark.parametrize("backend", ["trainjob", "job"])
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"parameter_servers": 1}, "parameter_servers"),
        ({"evaluator": True}, "evaluator"),
        ({"compute": Compute(queue="research")}, "queue"),
        ({"compute": Compute(gang=True)}, "gang_scheduling"),
    ],
)
def test_what_a_backend_has_not_got_is_refused_by_name(
    emulator: Emulator, engine: KubeflowEngine, backend: str, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidParameter) as raised:
        engine.train(training(training_backend=backend, **changes))
    assert raised.value.name == named
    assert items(emulator, *MADE) == []


def test_kueue_queues_jobs(emulator: Emulator, engine: KubeflowEngine) -> None:
    emulator.kinds["kueue.x-k8s.io/v1beta1"] = ("localqueues",)
    backends.choose(engine.cluster, training(training_backend="job", compute=Compute(queue="research", gang=True)))


@EACH
@pytest.mark.usefixtures("operators")
class TestTraining:
    def test_two_workers_know_each_other_and_one_saves(self, engine: KubeflowEngine, root: Path, backend: str) -> None:
        result = engine.train(training(training_backend=backend, workers=2))
        assert (root / "models" / "line" / "run-1" / "1" / "saved_model.pb").exists()
        assert len(result.curve["loss"]) == 3

    def test_final_fault_is_told_with_the_last_words(self, engine: KubeflowEngine, backend: str) -> None:
        trainer = Trainer((sys.executable, LINE), {"fail": "4"}, "trainer:1")
        with pytest.raises(JobFailed, match="broken as asked: 4"):
            engine.train(training(training_backend=backend, trainer=trainer))

    def test_another_spec_is_refused(self, engine: KubeflowEngine, backend: str) -> None:
        engine.train(training(training_backend=backend))
        with pytest.raises(Conflict):
            engine.train(training(training_backend=backend, epochs=4))

    def test_no_pod_outlives_the_training(self, emulator: Emulator, engine: KubeflowEngine, backend: str) -> None:
        engine.train(training(training_backend=backend, workers=3))
        assert {pod["status"]["phase"] for pod in items(emulator, PODS)} <= {"Succeeded", "Failed"}


@pytest.mark.usefixtures("operators")
def test_first_worker_that_has_saved_ends_the_job(emulator: Emulator, engine: KubeflowEngine) -> None:
    """As a TFJob's chief does: whoever still waits for a peer then would wait for ever."""
    engine.train(training(training_backend="job", workers=2))
    job = emulator.store.get(JOBS, NAMESPACE, "train-run-1")
    assert [entry["type"] for entry in job["status"]["conditions"]] == ["SuccessCriteriaMet", "Complete"]


@pytest.mark.usefixtures("operators")
def test_names_of_the_pods_go_with_their_job(emulator: Emulator, engine: KubeflowEngine) -> None:
    engine.train(training(training_backend="job", workers=2))
    assert [item["metadata"]["name"] for item in items(emulator, SERVICES)] == ["train-run-1"]
    emulator.store.delete(JOBS, NAMESPACE, "train-run-1")
    assert items(emulator, SERVICES) == []


def test_names_left_by_an_earlier_job_are_made_anew(emulator: Emulator, engine: KubeflowEngine) -> None:
    from hyperflow.engines.kubeflow.jobs import create_beside
    from hyperflow.engines.kubeflow.manifests import job, work
    from hyperflow.engines.kubeflow.resources import JOB, NETWORK

    made = job.service(work.training(training(workers=2)))
    for uid in ("before", "now"):
        owner = {"metadata": {"name": "train-run-1", "uid": uid}}
        create_beside(engine.cluster, NETWORK, made, owner, JOB)
    (left,) = items(emulator, SERVICES)
    assert left["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "train-run-1", "uid": "now"}
    ]
