"""The promises of `hyperflow.engines.base`, kept by every engine; no test here knows which one it runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from hyperflow import volume
from hyperflow.engines import Engine
from hyperflow.errors import Cancelled, Conflict, JobFailed, JobTimeout
from hyperflow.progress import Progress
from hyperflow.specs import (
    Algorithm,
    Dimension,
    Endpoint,
    ModelRef,
    Objective,
    ServeSpec,
    Trainer,
    TrainSpec,
    TuneSpec,
)
from tests.conformance.conftest import Said

TRAINER = str(Path(__file__).parents[1] / "trainers" / "line.py")
X = Dimension("x", "double", 0.0, 1.0)


def trainer(**arguments: object) -> Trainer:
    return Trainer((sys.executable, TRAINER), {name: str(value) for name, value in arguments.items()}, "trainer:1")


def tuning(**changes: Any) -> TuneSpec:
    spec = TuneSpec(
        run_id="run-1", data_path=str(volume.root()), trainer=trainer(), search_space=(X,), max_trials=4,
        parallel_trials=2, max_failed_trials=2, epochs=2, algorithm=Algorithm("random", {"random_state": "1"}),
        timeout=180,
    )  # fmt: skip
    return dataclasses.replace(spec, **changes)


def training(**changes: Any) -> TrainSpec:
    spec = TrainSpec(
        run_id="run-1", data_path=str(volume.root()), model_path=str(volume.model_path("line", "run-1") / "1"),
        trainer=trainer(), parameters={"x": 0.25}, epochs=3, timeout=60,
    )  # fmt: skip
    return dataclasses.replace(spec, **changes)


def starts(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def running(marker: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if marker in " ".join(p.info["cmdline"] or [])]


class TestTune:
    def test_best_trial_is_the_best_of_the_trials(self, engine: Engine) -> None:
        result = engine.tune(tuning())
        assert len(result.trials) == 4
        assert {trial.status for trial in result.trials} == {"succeeded"}
        assert result.best.value == max(trial.value or 0 for trial in result.trials)
        assert result.best.value == pytest.approx(1 - (float(result.best.parameters["x"]) - 0.3) ** 2 - 0.05, abs=1e-5)

    def test_value_of_a_trial_is_the_best_it_reported(self, engine: Engine) -> None:
        result = engine.tune(tuning(objective=Objective("loss", "minimize"), max_trials=1))
        assert result.best.value == pytest.approx(
            1 - (1 - (float(result.best.parameters["x"]) - 0.3) ** 2 - 0.05), abs=1e-5
        )

    def test_values_keep_their_types(self, engine: Engine) -> None:
        space = (X, Dimension("k", "int", 1, 3), Dimension("kind", "categorical", values=("a b", "c")))
        best = engine.tune(tuning(search_space=space, max_trials=2)).best.parameters
        assert isinstance(best["x"], float)
        assert isinstance(best["k"], int)
        assert best["kind"] in ("a b", "c")

    def test_second_call_returns_what_the_first_found(self, engine: Engine, tmp_path: Path) -> None:
        spec = tuning(trainer=trainer(count_in=tmp_path / "starts"))
        first, second = engine.tune(spec), engine.tune(spec)
        assert first.best == second.best
        assert starts(tmp_path / "starts") == 4

    def test_another_spec_of_the_same_run_is_refused(self, engine: Engine, tmp_path: Path) -> None:
        engine.tune(tuning(max_trials=2))
        with pytest.raises(Conflict):
            engine.tune(tuning(max_trials=2, trainer=trainer(count_in=tmp_path / "starts")))
        assert starts(tmp_path / "starts") == 0

    def test_failed_trials_fail_the_search_with_their_last_words(self, engine: Engine) -> None:
        with pytest.raises(JobFailed, match="broken as asked: 3"):
            engine.tune(tuning(trainer=trainer(fail=3)))

    def test_no_finite_value_fails_the_search(self, engine: Engine) -> None:
        with pytest.raises(JobFailed):
            engine.tune(tuning(trainer=trainer(nan=1)))

    def test_goal_ends_the_search(self, engine: Engine, tmp_path: Path) -> None:
        spec = tuning(
            objective=Objective(goal=0.1),
            max_trials=20,
            parallel_trials=1,
            trainer=trainer(count_in=tmp_path / "starts"),
        )
        engine.tune(spec)
        assert starts(tmp_path / "starts") < 20

    def test_progress_is_reported(self, engine: Engine, said: Said) -> None:
        engine.tune(tuning())
        assert said[-1].stage == "tune"
        assert (said[-1].done, said[-1].total) == (4, 4)
        assert "validation-accuracy" in said[-1].text

    def test_time_limit(self, engine: Engine) -> None:
        with pytest.raises(JobTimeout, match="tune_timeout"):
            engine.tune(tuning(trainer=trainer(pause=30), timeout=2))

    def test_cancel_ends_the_trials(self, engine: Engine, tmp_path: Path) -> None:
        marker = tmp_path / "marker"

        def cancel(_: Progress) -> None:
            raise Cancelled("stop")

        engine.tell = cancel
        with pytest.raises(Cancelled):
            engine.tune(tuning(trainer=trainer(pause=0.2, count_in=marker), max_trials=6))
        assert_ends(str(marker))


class TestTrain:
    def test_model_stands_and_the_curve_is_told(self, engine: Engine, said: Said) -> None:
        result = engine.train(training())
        assert (Path(result.model_path) / "saved_model.pb").exists()
        assert result.metrics["test-accuracy"] == 0.9
        assert len(result.curve["loss"]) == 3
        begun = [(step.done, step.total) for step in said if step.done]  # before, it may say what a pod waits for
        assert begun == [(1, 3), (2, 3), (3, 3)]

    def test_epochs_that_were_searched_for_are_those_it_counts_to(self, engine: Engine, said: Said) -> None:
        engine.train(training(parameters={"x": 0.25, "epochs": 2}))
        assert [(step.done, step.total) for step in said if step.done] == [(1, 2), (2, 2)]

    def test_workers_know_each_other(self, engine: Engine) -> None:
        result = engine.train(training(workers=2))
        assert (Path(result.model_path) / "saved_model.pb").exists()

    def test_second_call_trains_no_more(self, engine: Engine, tmp_path: Path) -> None:
        spec = training(trainer=trainer(count_in=tmp_path / "starts"))
        first, second = engine.train(spec), engine.train(spec)
        assert first.metrics == second.metrics
        assert first.curve == second.curve
        assert starts(tmp_path / "starts") == 1

    def test_permanent_fault_fails_at_once_with_its_last_words(self, engine: Engine) -> None:
        with pytest.raises(JobFailed, match="broken as asked: 4"):
            engine.train(training(trainer=trainer(fail=4)))

    def test_passing_fault_is_retried_from_the_checkpoint(self, engine: Engine, tmp_path: Path) -> None:
        result = engine.train(training(trainer=trainer(crash_at=2, count_in=tmp_path / "starts")))
        assert starts(tmp_path / "starts") == 2
        assert result.metrics["epoch"] == 3

    def test_passing_fault_is_not_retried_for_ever(self, engine: Engine) -> None:
        with pytest.raises(JobFailed, match="130"):
            engine.train(training(trainer=trainer(fail=130), retries=1))

    def test_no_model_fails_the_training(self, engine: Engine) -> None:
        with pytest.raises(JobFailed, match="model"):
            engine.train(training(trainer=trainer(no_model=1)))

    def test_another_spec_of_the_same_run_is_refused(self, engine: Engine) -> None:
        engine.train(training())
        with pytest.raises(Conflict):
            engine.train(training(epochs=4))

    def test_time_limit(self, engine: Engine) -> None:
        with pytest.raises(JobTimeout, match="train_timeout"):
            engine.train(training(trainer=trainer(pause=30), timeout=2))

    def test_cancel_ends_the_workers(self, engine: Engine, tmp_path: Path) -> None:
        marker = tmp_path / "marker"

        def cancel(_: Progress) -> None:
            raise Cancelled("stop")

        engine.tell = cancel
        with pytest.raises(Cancelled):
            engine.train(training(trainer=trainer(pause=0.2, count_in=marker), epochs=500))
        assert_ends(str(marker))


class TestServe:
    @pytest.fixture
    def models(self, trained: Path) -> list[ModelRef]:
        """Two copies of one real model, and a folder that holds none."""
        made = []
        for number, run_id in enumerate(("one", "two")):
            path = volume.model_path("m", run_id)
            shutil.copytree(trained, path)
            made.append(ModelRef(str(path), run_id, 0.8 + number / 10, "abc", {"x": 0.5}))
        bad = volume.model_path("m", "bad")
        (bad / "1").mkdir(parents=True)
        (bad / "1" / "saved_model.pb").write_bytes(b"broken")
        return [*made, ModelRef(str(bad), "bad", 0.99)]

    def test_nothing_is_served_at_first(self, engine: Engine) -> None:
        assert engine.serving("m") is None
        assert engine.deployed("m") is None

    def test_it_is_this_model_that_answers(self, engine: Engine, models: list[ModelRef]) -> None:
        endpoint = engine.serve(serving(models[0]))
        assert endpoint.model == models[0]
        assert endpoint.previous is None
        assert len(ask(endpoint)) == 10

    def test_promoted_model_is_what_is_served(self, engine: Engine, models: list[ModelRef]) -> None:
        engine.serve(serving(models[0]))
        promoted = engine.promote("m")
        now = engine.serving("m")
        assert now is not None
        assert now.model == promoted.model == models[0]
        assert now.url == promoted.url
        assert len(ask(now)) == 10

    def test_replacing_remembers_the_previous_one(self, engine: Engine, models: list[ModelRef]) -> None:
        deploy(engine, models[0])
        first = engine.promote("m")
        second = deploy(engine, models[1])
        assert second.model == models[1]
        assert second.previous == models[0]
        assert second.url == first.url
        assert len(ask(second)) == 10

    def test_serving_the_same_again_changes_nothing(self, engine: Engine, models: list[ModelRef]) -> None:
        first = deploy(engine, models[0])
        again = deploy(engine, models[0])
        assert first == again

    def test_restore_brings_the_previous_one_back(self, engine: Engine, models: list[ModelRef]) -> None:
        deploy(engine, models[0])
        deploy(engine, models[1])
        back = engine.restore("m")
        assert back.model == models[0]
        assert len(ask(back)) == 10

    def test_restore_before_promotion(self, engine: Engine, models: list[ModelRef]) -> None:
        deploy(engine, models[0])
        engine.serve(serving(models[1]))
        assert tried(engine) == models[1]
        back = engine.restore("m")
        assert tried(engine) == models[0]
        now = engine.serving("m")
        assert now is not None
        assert back.model == now.model == models[0]
        assert len(ask(now)) == 10

    def test_restore_without_a_previous_one_fails(self, engine: Engine, models: list[ModelRef]) -> None:
        deploy(engine, models[0])
        with pytest.raises(JobFailed):
            engine.restore("m")

    def test_model_that_cannot_be_loaded_leaves_the_good_one_serving(
        self, engine: Engine, models: list[ModelRef]
    ) -> None:
        good = deploy(engine, models[0])
        with pytest.raises(JobFailed):
            engine.serve(serving(models[2]))
        now = engine.serving("m")
        assert now is not None
        assert now.model == models[0]
        assert len(ask(good)) == 10

    @pytest.mark.parametrize("tried", [0, 2], ids=["fails its test", "never answers"])
    def test_first_deployment_that_fails_is_not_served_and_the_next_one_replaces_it(
        self, engine: Engine, models: list[ModelRef], tried: int
    ) -> None:
        fail_first(engine, models[tried])
        assert engine.serving("m") is None
        assert engine.deployed("m") is None
        with pytest.raises(JobFailed):
            engine.restore("m")
        assert engine.serving("m") is None
        endpoint = deploy(engine, models[1])
        assert endpoint.model == models[1]
        assert endpoint.previous is None
        assert engine.serving("m") == endpoint
        assert len(ask(endpoint)) == 10

    def test_model_that_failed_first_may_be_deployed_again(self, engine: Engine, models: list[ModelRef]) -> None:
        fail_first(engine, models[0])
        endpoint = deploy(engine, models[0])
        assert endpoint.previous is None
        assert engine.serving("m") == endpoint
        assert len(ask(endpoint)) == 10


def test_reap_has_nothing_to_do_without_dead_runs(engine: Engine) -> None:
    assert engine.reap() == []


def serving(model: ModelRef) -> ServeSpec:
    return ServeSpec("run-1", "m", model, image="predictor:1", timeout=60)


def deploy(engine: Engine, model: ModelRef) -> Endpoint:
    engine.serve(serving(model))
    return engine.promote("m")


def tried(engine: Engine) -> ModelRef | None:
    deployed = engine.deployed("m")
    return deployed.model if deployed else None


def fail_first(engine: Engine, model: ModelRef) -> None:
    """Deploy a model that does not come up, or is taken back with none before it."""
    with pytest.raises(JobFailed):
        try_first(engine, model)


def try_first(engine: Engine, model: ModelRef) -> None:
    engine.serve(serving(model))
    engine.restore("m")


def ask(endpoint: Endpoint) -> list[float]:
    body = json.dumps({"instances": [{"flatten_input": [0] * 784}]}).encode()
    with urllib.request.urlopen(f"{endpoint.url}/v1/models/{endpoint.name}:predict", body, timeout=20) as response:
        predictions: list[list[float]] = json.load(response)["predictions"]
    return predictions[0]


def assert_ends(marker: str, seconds: float = 30, quiet: float = 2) -> None:
    """See that nothing runs any more, nor begins to: what was under way when the work was cancelled may do that."""
    deadline, seen = time.monotonic() + seconds, time.monotonic()
    while time.monotonic() - seen < quiet:
        if running(marker):
            seen = time.monotonic()
            assert seen < deadline, "a process of cancelled work runs on"
        time.sleep(0.05)
