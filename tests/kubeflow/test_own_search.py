"""Our own search on a cluster: the trials of a laptop, as Jobs; killed and taken up again, no trial run twice."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hyperflow import volume
from hyperflow.engines.kubeflow import KubeflowEngine, tuners
from hyperflow.engines.local import LocalEngine
from hyperflow.engines.search import log_of
from hyperflow.errors import Cancelled, Conflict, InvalidParameter, JobFailed, JobTimeout, Unavailable
from hyperflow.progress import Progress
from hyperflow.specs import Algorithm, Compute, Dimension, EarlyStopping, Objective, Trainer, TuneSpec
from hyperflow.volume import paths
from tests.kubeflow import hand
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.specs import LINE, tuning
from tests.kubeflow.store import Object
from tests.kubeflow.test_backends import JOBS, PODS, SERVICES, items, remove
from tests.kubeflow.world import NAMESPACE

EXPERIMENTS = ("kubeflow.org", "experiments")
GRID = (Dimension("x", "double", 0.0, 1.0, step=0.25), Dimension("k", "int", 1, 3))


def searching(**changes: Any) -> TuneSpec:
    arguments = {name: str(value) for name, value in changes.pop("arguments", {}).items()}
    trainer = Trainer((sys.executable, LINE), arguments, "trainer:1")
    return tuning(**{"tuner": "job", "trainer": trainer, "data_path": str(volume.root()), **changes})


def starts(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


class TestChoice:
    def test_katib_where_it_answers(self, engine: KubeflowEngine) -> None:
        assert tuners.choose(engine.cluster, tuning(tuner="auto")).tuner == "katib"

    @pytest.mark.parametrize(("parallel", "tuner"), [(1, "katib"), (2, "job")])
    def test_own_search_for_a_parallel_grid_of_which_katib_would_lose_points(
        self, engine: KubeflowEngine, parallel: int, tuner: str
    ) -> None:
        spec = tuning(tuner="auto", search_space=GRID, algorithm=Algorithm("grid"), parallel_trials=parallel)
        assert tuners.choose(engine.cluster, spec).tuner == tuner

    def test_own_search_where_there_is_no_katib(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        remove(emulator, "experiments", "suggestions", "trials")
        choice = tuners.choose(engine.cluster, tuning(tuner="auto"))
        assert choice.tuner == "job"
        assert "no Experiments" in choice.reason

    def test_own_search_where_katib_is_gone_and_its_kinds_are_left(
        self, emulator: Emulator, engine: KubeflowEngine
    ) -> None:
        del emulator.webhooks["experiments"]
        assert tuners.choose(engine.cluster, tuning(tuner="auto")).tuner == "job"

    def test_own_search_in_a_namespace_that_katib_does_not_look_at(
        self, emulator: Emulator, engine: KubeflowEngine
    ) -> None:
        space = emulator.store.get(("", "namespaces"), "", NAMESPACE)
        emulator.store.replace(("", "namespaces"), "", {**space, "metadata": {**space["metadata"], "labels": {}}})
        assert tuners.choose(engine.cluster, tuning(tuner="auto")).tuner == "job"

    def test_trials_of_several_workers_without_tfjobs(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        remove(emulator, "tfjobs")
        choice = tuners.choose(engine.cluster, tuning(workers=2, tuner="auto"))
        assert (choice.tuner, choice.backend.name) == ("job", "trainjob")
        with pytest.raises(InvalidParameter, match="trial_workers"):
            engine.tune(tuning(workers=2, tuner="katib"))
        assert items(emulator, EXPERIMENTS) == []

    def test_katib_that_is_not_there_is_refused(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        remove(emulator, "experiments")
        with pytest.raises(Unavailable, match="tuner=job"):
            engine.tune(tuning(tuner="katib"))

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"compute": Compute(queue="research")}, "queue"),
            ({"algorithm": Algorithm("cmaes", {"restart_strategy": "ipop"}), "search_space": GRID}, "restart_strategy"),
        ],
    )
    def test_what_it_has_not_got_is_refused(
        self, emulator: Emulator, engine: KubeflowEngine, changes: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(InvalidParameter, match=named):
            engine.tune(searching(**changes))
        assert items(emulator, JOBS) == []
        assert not (volume.root() / "runs").exists()


@pytest.mark.usefixtures("operators")
class TestSearch:
    @pytest.mark.parametrize("algorithm", ["random", "tpe", "grid", "sobol"])
    def test_same_seed_makes_the_trials_of_a_laptop(self, engine: KubeflowEngine, algorithm: str) -> None:
        spec = searching(
            algorithm=Algorithm(algorithm, {"random_state": "7"}), search_space=GRID, max_trials=6, parallel_trials=1
        )
        there = engine.tune(spec)
        here = LocalEngine().tune(searching(**{**vars_of(spec), "run_id": "run-2"}))
        assert [trial.parameters for trial in there.trials] == [trial.parameters for trial in here.trials]
        assert [trial.value for trial in there.trials] == [trial.value for trial in here.trials]
        assert there.best.parameters == here.best.parameters

    def test_bad_trial_is_stopped_early(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        spec = searching(
            algorithm=Algorithm("grid"), search_space=(Dimension("x", "discrete", values=(0.3, 1.0)),),
            max_trials=2, parallel_trials=1, epochs=40, early_stopping=EarlyStopping(1, 3), arguments={"pause": 0.05},
        )  # fmt: skip
        good, bad = engine.tune(spec).trials
        assert (good.status, good.metrics["epoch"]) == ("succeeded", 40)
        assert bad.status == "early-stopped"
        assert 3 <= bad.metrics["epoch"] < 40
        assert [job["metadata"]["name"] for job in items(emulator, JOBS)] == ["tune-run-1-000"]

    def test_trials_of_two_workers(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        result = engine.tune(searching(workers=2, training_backend="job", max_trials=2))
        assert {trial.status for trial in result.trials} == {"succeeded"}
        assert len(items(emulator, SERVICES)) == 2

    def test_log_of_each_trial_is_kept_on_the_volume(self, engine: KubeflowEngine, root: Path) -> None:
        engine.tune(searching(max_trials=2))
        logs = sorted((root / "runs" / "run-1" / "tune").glob("trial-*.log"))
        assert [log.read_text().count("validation-accuracy=") for log in logs] == [1, 1]

    def test_lost_pod_begins_anew_and_counts_once(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        spec = searching(max_trials=1, epochs=6, arguments={"pause": 0.2})
        with hand.started(lambda: engine.tune(spec)) as result:
            pod = hand.wait_for(lambda: [each for each in items(emulator, PODS) if "status" in each])[0]
            hand.wait_for(lambda: len(emulator.logs[pod["metadata"]["name"], "trainer"].lines) >= 2)
            emulator.store.delete(PODS, NAMESPACE, pod["metadata"]["name"])
            (trial,) = result.result(60).trials
        assert (trial.status, trial.metrics["epoch"]) == ("succeeded", 6)

    def test_lost_pod_goes_on_from_its_checkpoint_and_what_it_printed_counts(
        self, emulator: Emulator, engine: KubeflowEngine, tmp_path: Path
    ) -> None:
        spec = searching(
            algorithm=Algorithm("hyperband", {"r_l": "6", "eta": "7", "resource_name": "epochs", "random_state": "1"}),
            search_space=(Dimension("x", "double", 0.0, 1.0), Dimension("epochs", "int", 1, 6)),
            objective=Objective("epoch", "minimize"), max_trials=1,
            arguments={"pause": 0.2, "ledger": tmp_path / "ledger"},
        )  # fmt: skip
        with hand.started(lambda: engine.tune(spec)) as result:
            pod = hand.wait_for(lambda: [each for each in items(emulator, PODS) if "status" in each])[0]
            log = log_of(paths.tuning("run-1"), 0)
            hand.wait_for(lambda: log.exists() and log.read_text().count("\n") >= 2)
            emulator.store.delete(PODS, NAMESPACE, pod["metadata"]["name"])
            (trial,) = result.result(60).trials
        assert (trial.status, trial.value, trial.metrics["epoch"]) == ("succeeded", 1, 6)
        begun = (tmp_path / "ledger").read_text().splitlines()
        assert len(begun) <= 7  # all six, and the one in which the pod was lost

    def test_a_trial_that_hyperband_takes_up_goes_on_from_its_checkpoint(
        self, emulator: Emulator, engine: KubeflowEngine, tmp_path: Path
    ) -> None:
        spec = searching(
            algorithm=Algorithm("hyperband", {"r_l": "2", "eta": "2", "resource_name": "epochs", "random_state": "1"}),
            search_space=(Dimension("x", "double", 0.0, 1.0), Dimension("epochs", "int", 1, 2)),
            max_trials=3, arguments={"ledger": tmp_path / "ledger"},
        )  # fmt: skip
        result = engine.tune(spec)
        assert sorted(int(trial.parameters["epochs"]) for trial in result.trials) == [1, 1, 2]
        begun = (tmp_path / "ledger").read_text().splitlines()
        assert len(begun) == len(set(begun)) == 3
        taken_up = items(emulator, JOBS)[-1]["spec"]["template"]["spec"]["containers"][0]["env"]
        places = {each["name"]: each["value"] for each in taken_up if "CHECKPOINT" in each["name"]}
        assert places["HYPERFLOW_CHECKPOINT_DIR"] == "/mnt/hyperflow/runs/run-1/tune/trial-002-checkpoint"
        assert places["HYPERFLOW_CHECKPOINT_FROM"] in (
            f"/mnt/hyperflow/runs/run-1/tune/trial-{number:03d}-checkpoint" for number in (0, 1)
        )

    def test_cancel_leaves_no_job(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        def cancel(_: Progress) -> None:
            raise Cancelled("stop")

        engine.tell = cancel
        with pytest.raises(Cancelled):
            engine.tune(searching(max_trials=6, arguments={"pause": 0.2}))
        assert {hand_end(job) for job in items(emulator, JOBS)} <= {"Complete"}

    def test_goal_stops_what_still_runs_and_a_second_call_starts_nothing(
        self, emulator: Emulator, engine: KubeflowEngine, tmp_path: Path
    ) -> None:
        spec = searching(objective=Objective(goal=0.1), max_trials=9, arguments={"count_in": tmp_path / "starts"})
        first = engine.tune(spec)
        made = len(starts(tmp_path / "starts"))
        assert made < 9
        assert {hand_end(job) for job in items(emulator, JOBS)} <= {"Complete"}
        assert engine.tune(spec).best == first.best
        assert len(starts(tmp_path / "starts")) == made


class Killed(BaseException):
    """What a kill looks like from inside: nothing is tidied."""


@pytest.mark.usefixtures("operators")
def test_killed_search_goes_on_and_no_trial_runs_twice(
    emulator: Emulator, engine: KubeflowEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = searching(max_trials=6, arguments={"count_in": tmp_path / "starts", "pause": 0.5}, epochs=2)
    seen = threading.Event()

    def die(_: Progress) -> None:
        seen.set()
        raise Killed

    engine.tell = die
    with monkeypatch.context() as patch:
        patch.setattr("hyperflow.engines.kubeflow.trial_jobs.delete_for", lambda *_, **__: None)
        with pytest.raises(Killed):
            engine.tune(spec)
    assert seen.is_set()
    engine.tell = lambda _: None
    result = engine.tune(spec)
    assert len(result.trials) == 6
    assert len({trial.name for trial in result.trials}) == 6
    assert len(starts(tmp_path / "starts")) == 6
    assert len(items(emulator, JOBS)) == 6


@pytest.mark.usefixtures("operators")
def test_another_spec_of_the_same_run_is_refused(engine: KubeflowEngine) -> None:
    engine.tune(searching(max_trials=1))
    with pytest.raises(Conflict):
        engine.tune(searching(max_trials=2))


@pytest.mark.usefixtures("operators")
def test_failed_trials_fail_the_search_with_their_last_words(engine: KubeflowEngine) -> None:
    with pytest.raises(JobFailed, match="broken as asked: 3"):
        engine.tune(searching(arguments={"fail": 3}))


@pytest.mark.usefixtures("operators")
def test_time_limit_deletes_what_runs(emulator: Emulator, engine: KubeflowEngine) -> None:
    with pytest.raises(JobTimeout, match="tune_timeout"):
        engine.tune(searching(arguments={"pause": 30}, timeout=2))
    assert items(emulator, JOBS) == []


def hand_end(job: Object) -> str:
    """Name the last condition of a job."""
    found = job.get("status", {}).get("conditions", [])
    return found[-1]["type"] if found else "running"


def vars_of(spec: TuneSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in ("algorithm", "search_space", "max_trials", "parallel_trials")}
