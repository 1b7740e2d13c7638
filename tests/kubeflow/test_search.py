"""Searches that do not go on, and how Katib's trials end: by hand, and against the imitated Katib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine, explain, trials
from hyperflow.engines.kubeflow.headway import Headway
from hyperflow.errors import JobFailed, JobTimeout
from hyperflow.specs import Algorithm, Dimension, EarlyStopping, Trainer
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.hand import add_trial, appeared, end, started, succeed, wait_for, warn, watched
from tests.kubeflow.katib import EXPERIMENT_LABEL, EXPERIMENTS, SUGGESTIONS, TRIALS
from tests.kubeflow.kubelet import NOWHERE, PODS
from tests.kubeflow.operators import JOBS
from tests.kubeflow.specs import serving, trainer, training, tuning
from tests.kubeflow.store import Object, Refusal
from tests.kubeflow.world import NAMESPACE

TUNE = "tune-run-1"
TRIAL = f"{TUNE}-bcdfghjk"
FORBIDDEN = f'Error creating: pods "{TRIAL}-x1y2z" is forbidden: violates PodSecurity "restricted:latest"'
PULLS = {"reason": "ImagePullBackOff", "message": "no such image"}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def engine(engine: KubeflowEngine, said: list[str]) -> KubeflowEngine:
    """Give an engine that bears for a second what it bears for ten minutes."""
    return KubeflowEngine(lambda progress: said.append(progress.text), engine.cluster, start_seconds=1.0)


def pod(name: str = f"{TRIAL}-x1y2z", phase: str = "Pending", waiting: Object | None = None) -> Object:
    state = {"waiting": waiting} if waiting else {}
    return {
        "metadata": {"name": name, "uid": name, "labels": {EXPERIMENT_LABEL: TUNE}},
        "spec": {"containers": [{"name": "trainer"}]},
        "status": {"phase": phase, "containerStatuses": [{"name": "trainer", "state": state}]},
    }


def of_trial(**fields: Any) -> Object:
    made = pod(**fields)
    made["metadata"]["labels"]["batch.kubernetes.io/job-name"] = TRIAL
    return made


def add(emulator: Emulator, made: Object) -> None:
    emulator.store.create(PODS, NAMESPACE, {"metadata": made["metadata"], "spec": made["spec"]})
    emulator.store.set_status(PODS, NAMESPACE, made["metadata"]["name"], **made["status"])


def is_gone(emulator: Emulator) -> bool:
    try:
        emulator.store.get(EXPERIMENTS, NAMESPACE, TUNE)
    except Refusal:
        return True
    return False


def begin(emulator: Emulator) -> None:
    """See the Experiment made and followed, and have Katib act on it."""
    appeared(emulator, EXPERIMENTS, TUNE)
    end(emulator, EXPERIMENTS, TUNE, "Created")


class TestUnstartable:
    def test_trial_without_an_image_is_told_at_once_and_ends_the_search(
        self, emulator: Emulator, engine: KubeflowEngine, said: list[str]
    ) -> None:
        with started(lambda: engine.tune(tuning())) as tune:
            begin(emulator)
            add(emulator, of_trial(waiting=PULLS))
            wait_for(lambda: any("ImagePullBackOff no such image" in text for text in said))
            with pytest.raises(JobFailed, match=r"it cannot start: pod .*ImagePullBackOff") as raised:
                tune.result(20)
        assert not isinstance(raised.value, JobTimeout)
        assert is_gone(emulator)

    def test_trial_whose_pods_are_refused_ends_the_search(
        self, emulator: Emulator, engine: KubeflowEngine, said: list[str]
    ) -> None:
        with started(lambda: engine.tune(tuning())) as tune:
            begin(emulator)
            warn(emulator, TRIAL, "FailedCreate", FORBIDDEN)
            wait_for(lambda: any("violates PodSecurity" in text for text in said))
            with pytest.raises(JobFailed, match="violates PodSecurity"):
                tune.result(20)

    def test_refused_pods_of_others_do_not_matter(
        self, emulator: Emulator, engine: KubeflowEngine, said: list[str]
    ) -> None:
        with started(lambda: engine.tune(tuning(timeout=4))) as tune:
            begin(emulator)
            for other in ("another-job", f"{TUNE}0-bcdfghjk", f"{TUNE}-b-bcdfghjk"):
                warn(emulator, other, "FailedCreate", FORBIDDEN)
            with pytest.raises(JobTimeout):
                tune.result(20)
        assert not [text for text in said if "PodSecurity" in text]

    def test_algorithm_that_cannot_start_ends_the_search(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        with started(lambda: engine.tune(tuning())) as tune:
            begin(emulator)
            add(emulator, pod(f"{TUNE}-random-abc-def", waiting=PULLS))
            with pytest.raises(JobFailed, match=f"cannot start: pod {TUNE}-random"):
                tune.result(20)

    def test_experiment_that_nobody_acts_on_ends_the_search(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        idle = KubeflowEngine(cluster=engine.cluster, act_seconds=1)
        with pytest.raises(JobFailed, match=r"nothing acts on Experiment(.|\n)*Katib") as raised:
            idle.tune(tuning())
        assert not isinstance(raised.value, JobTimeout)
        assert is_gone(emulator)

    def test_image_that_is_nowhere(self, emulator: Emulator, operators: None, engine: KubeflowEngine) -> None:
        lost = Trainer(trainer().command, {}, f"{NOWHERE}trainer:1")
        with pytest.raises(JobFailed, match="see whether the image exists"):
            engine.tune(tuning(trainer=lost))
        wait_for(lambda: not emulator.store.select(PODS, NAMESPACE)[0])


class TestHeadway:
    def test_pod_that_waits_for_a_node_is_borne(self) -> None:
        headway = Headway(TUNE, "random", grace=0)
        full = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}
        waits = of_trial()
        waits["status"]["conditions"] = [full]
        assert "Insufficient cpu" in headway.see_pod(waits, False)[0]
        assert headway.problem == ""

    def test_trial_that_runs_lets_the_others_wait(self) -> None:
        headway = Headway(TUNE, "random", grace=0)
        headway.see_pod(of_trial(waiting=PULLS), False)
        assert "ImagePullBackOff" in headway.problem
        running = of_trial(name="other", phase="Running")
        headway.see_pod(running, False)
        assert headway.problem == ""
        headway.see_pod(running, True)
        assert "ImagePullBackOff" in headway.problem

    def test_trial_that_has_ended_begins_the_grace_anew(self) -> None:
        headway = Headway(TUNE, "random", grace=100)
        headway.see_pod(of_trial(waiting=PULLS), False)
        first = headway.seconds_left
        headway.see_pod(of_trial(name="other", phase="Running"), False)
        headway.see_pod(of_trial(name="other", phase="Succeeded"), False)
        assert first < headway.seconds_left <= 100

    def test_errors_of_katib_end_a_search_that_stands_still_and_no_other(self) -> None:
        about = {"kind": "Suggestion", "name": TUNE}
        error = {"involvedObject": about, "type": "Warning", "reason": "ReconcileError", "message": "rpc error"}
        still, working = Headway(TUNE, "random", grace=0), Headway(TUNE, "random", grace=100)
        assert "rpc error" in still.see_event(error, open_trials=0)
        assert "Suggestion: ReconcileError rpc error" in still.problem
        working.see_event(error, open_trials=0)
        assert working.problem == ""
        still.see_pod(of_trial(phase="Running"), False)
        assert still.problem == ""


class TestExplained:
    def test_time_limit_tells_what_katib_is_waiting_for(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        with started(lambda: engine.tune(tuning(timeout=2))) as tune:
            begin(emulator)
            emulator.store.create(SUGGESTIONS, NAMESPACE, {"metadata": {"name": TUNE}})
            waits = {"type": "DeploymentReady", "status": "False", "reason": "DeploymentNotReady", "message": "not yet"}
            emulator.store.set_status(SUGGESTIONS, NAMESPACE, TUNE, conditions=[waits])
            warn(emulator, TUNE, "ReconcileError", "could not convert string to float: ''")
            with pytest.raises(JobTimeout) as raised:
                tune.result(10)
        for part in ("suggestion DeploymentReady is False", "not yet", "ReconcileError", "could not convert string"):
            assert part in str(raised.value)

    def test_errors_of_the_algorithm_are_told_while_waiting(
        self, emulator: Emulator, engine: KubeflowEngine, said: list[str]
    ) -> None:
        with started(lambda: engine.tune(tuning())) as tune:
            begin(emulator)
            warn(emulator, TUNE, "ReconcileError", "rpc error: deadline exceeded")
            wait_for(lambda: any("rpc error: deadline exceeded" in text for text in said))
            succeed(emulator)
            tune.result(10)

    @pytest.mark.parametrize("value", ["unavailable", "", "nan"])
    def test_best_so_far_is_a_number(
        self, emulator: Emulator, engine: KubeflowEngine, said: list[str], value: str
    ) -> None:
        with started(lambda: engine.tune(tuning())) as tune:
            begin(emulator)
            best = add_trial(emulator, f"{TUNE}-a", value, "Succeeded")
            emulator.store.set_status(
                EXPERIMENTS, NAMESPACE, TUNE, currentOptimalTrial=best, trialsSucceeded=1, trialsRunning=1
            )
            wait_for(lambda: said)
            best = add_trial(emulator, f"{TUNE}-b", "0.75", "Succeeded")
            emulator.store.set_status(EXPERIMENTS, NAMESPACE, TUNE, currentOptimalTrial=best, trialsSucceeded=2)
            wait_for(lambda: "best validation-accuracy=0.75 with x=0.5, 1 running" in said)
            end(emulator, EXPERIMENTS, TUNE, "Succeeded")
            assert tune.result(10).best.value == 0.75
        assert said[0] == "1 running"

    def test_exit_code_of_a_collector_is_no_signal(self) -> None:
        ended = {"state": {"terminated": {"exitCode": 255, "reason": "Error"}}}
        killed = {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
        assert explain.container_state(ended) == "ended with exit code 255 (Error)"
        assert explain.container_state(killed) == "ended with exit code 137 (OOMKilled, signal 9)"

    def test_trial_that_ends_before_its_collector_looks_is_explained(self) -> None:
        why = "Failed to wait for worker container: unable to find main pid from the process list [1 7]"
        assert "two seconds" in explain.hint(why, "")


class TestLeftovers:
    def test_new_search_waits_until_the_old_ones_trials_have_gone(
        self, emulator: Emulator, engine: KubeflowEngine
    ) -> None:
        """Katib counts every trial with the Experiment's label as the new one's."""
        add_trial(emulator, f"{TUNE}-old", "0.99", "Succeeded")
        emulator.store.create(SUGGESTIONS, NAMESPACE, {"metadata": {"name": TUNE}})
        with started(lambda: engine.tune(tuning())) as tune:
            looked = [0]

            def has_looked_again() -> bool:
                looked[0] = sum(request.resource == "trials" for request in list(emulator.requests))
                return looked[0] > 1

            wait_for(has_looked_again)
            assert is_gone(emulator)
            emulator.store.delete(TRIALS, NAMESPACE, f"{TUNE}-old")
            wait_for(lambda: [each for each in list(emulator.requests) if each.resource == "suggestions"])
            assert is_gone(emulator)
            emulator.store.delete(SUGGESTIONS, NAMESPACE, TUNE)
            appeared(emulator, EXPERIMENTS, TUNE)
            succeed(emulator)
            assert [trial.name for trial in tune.result(10).trials] == [f"{TUNE}-a"]

    def test_step_that_is_started_again_takes_its_trials_up(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        with started(lambda: engine.tune(tuning())) as first:
            appeared(emulator, EXPERIMENTS, TUNE)
            succeed(emulator)
            first.result(10)
        assert engine.tune(tuning()).best.value == 0.9


class TestTrials:
    """Against the imitated Katib, which does as the real one was seen to."""

    def test_workers_of_a_trial_get_its_values(self, operators: None, engine: KubeflowEngine) -> None:
        result = engine.tune(tuning(workers=2, max_trials=2))
        assert {trial.status for trial in result.trials} == {"succeeded"}

    def test_value_that_is_no_number_costs_one_trial(self, operators: None, engine: KubeflowEngine) -> None:
        """Katib's own filter has it stored as an empty text, on which the search would hang."""
        space = (Dimension("x", "discrete", values=(0.3, 0.5)), Dimension("nan", "discrete", values=(0, 1)))
        spec = tuning(search_space=space, algorithm=Algorithm("grid"), parallel_trials=1, max_failed_trials=4)
        result = engine.tune(spec)
        assert result.best.parameters == {"x": 0.3, "nan": 0}
        states = {(trial.parameters["nan"], trial.status, trial.value is None) for trial in result.trials}
        assert states == {(0, "succeeded", False), (1, "metrics-unavailable", True)}

    def test_worse_trial_is_stopped_early(self, operators: None, engine: KubeflowEngine) -> None:
        space = (Dimension("x", "discrete", values=(0.3, 0.9)),)
        spec = tuning(
            search_space=space, algorithm=Algorithm("grid"), max_trials=2, parallel_trials=1, epochs=100,
            early_stopping=EarlyStopping(1, 1), trainer=trainer(pause=0.03),
        )  # fmt: skip
        result = engine.tune(spec)
        stopped = next(trial for trial in result.trials if trial.status == "early-stopped")
        assert stopped.parameters == {"x": 0.9}
        assert result.best.parameters == {"x": 0.3}

    def test_early_stopped_trial_ran_until_it_was_stopped(self) -> None:
        """Katib leaves it running in name, and notes no time of its end."""
        conditions = [
            {"type": "Running", "status": "True"},
            {"type": "EarlyStopped", "status": "True", "lastTransitionTime": "2026-01-01T00:01:30Z"},
        ]
        status = {"startTime": "2026-01-01T00:00:00Z", "completionTime": None, "conditions": conditions}
        item = {"metadata": {"name": "t", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}, "status": status}
        (trial,) = trials.read(tuning(), [item])
        assert (trial.status, trial.seconds, trial.value) == ("early-stopped", 90.0, None)

    def test_failed_trial_has_no_value(self, emulator: Emulator, operators: None, engine: KubeflowEngine) -> None:
        space = (Dimension("fail", "discrete", values=(0, 3)),)
        spec = tuning(
            search_space=space, algorithm=Algorithm("grid"), max_trials=2, max_failed_trials=2, parallel_trials=1
        )
        result = engine.tune(spec)
        assert {(trial.status, trial.value is None) for trial in result.trials} == {
            ("succeeded", False), ("failed", True),
        }  # fmt: skip
        jobs, _ = emulator.store.select(JOBS, NAMESPACE)
        assert len(jobs) == 2  # they stay, with their pods and logs
        assert appeared(emulator, SUGGESTIONS, TUNE)


def test_rules_hold_before_anything_is_asked(engine: KubeflowEngine, emulator: Emulator, root: Path) -> None:
    stepped = tuning(search_space=(Dimension("k", "int", 1, 9, step=4),))
    with pytest.raises(ValueError, match="multiple of step"):
        engine.check(stepped, training(), serving())
    assert not emulator.requests


def test_watches_of_a_search_ask_once(emulator: Emulator, engine: KubeflowEngine) -> None:
    with started(lambda: engine.tune(tuning())) as tune:
        appeared(emulator, EXPERIMENTS, TUNE)
        for plural, times in (("experiments", 1), ("pods", 1), ("events", 3)):
            watched(emulator, plural, times)
        succeed(emulator)
        tune.result(10)
