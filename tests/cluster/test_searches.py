"""Searches by the real Katib: what it admits, what each algorithm finds, and how a search ends that goes wrong.

HYPERFLOW_EXPERIMENTS=all has it asked for every Experiment of the grid, not for a part of them.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from hyperflow.engines.kubeflow.manifests import experiment
from hyperflow.errors import InvalidParameter, JobFailed
from hyperflow.specs import Algorithm, Dimension, EarlyStopping, Objective, TuneResult, TuneSpec
from tests.cluster.test_admission import ask
from tests.cluster.world import KATIB, World, machinery, need
from tests.kubeflow.specs import BIG, trainer, tuning
from tests.kubeflow.store import Object

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PART = 200
"""Experiments asked for, where not all are."""
X = Dimension("x", "double", 0.0, 1.0)
SPACES = {
    "double": (X,),
    "double by logarithm": (Dimension("x", "double", 1e-5, 0.1, distribution="logUniform"),),
    "double by step": (Dimension("x", "double", 0.0, 1.0, step=0.25),),
    "negative double": (Dimension("x", "double", -1e6, -1e-6),),
    "int": (Dimension("k", "int", 1, 64),),
    "int by step": (Dimension("k", "int", 8, 64, step=8),),
    "int by logarithm": (Dimension("k", "int", 1, 1024, distribution="logUniform"),),
    "discrete": (Dimension("x", "discrete", values=(0.1, 0.25, 0.5, 1e-7)),),
    "categorical": (Dimension("kind", "categorical", values=("a", "b c", "d;e", "f&&g|h", "*?~#", "é=ü", "#", "-")),),
    "two doubles": (X, Dimension("learning-rate", "double", 1e-5, 1e-1, distribution="logUniform")),
    "double and int": (X, Dimension("k", "int", 1, 8)),
    "one of each": (
        X,
        Dimension("k", "int", 2, 16, step=2),
        Dimension("batch_size", "discrete", values=(32, 64, 128)),
        Dimension("kind", "categorical", values=("a", "b")),
    ),
}
ALGORITHMS = {
    "random": Algorithm("random"),
    "random, seeded": Algorithm("random", {"random_state": "1"}),
    "grid": Algorithm("grid"),
    "tpe": Algorithm("tpe", {"random_state": "1"}),
    "tpe, tuned": Algorithm("tpe", {"gamma": "0.3", "prior_weight": "1.5", "n_EI_candidates": "30"}),
    "multivariate-tpe": Algorithm("multivariate-tpe", {"n_startup_trials": "3", "random_state": "1"}),
    "cmaes": Algorithm("cmaes", {"sigma": "0.1", "random_state": "1"}),
    "sobol": Algorithm("sobol"),
    "hyperband": Algorithm("hyperband", {"r_l": "4", "eta": "2", "resource_name": "k"}),
}
OBJECTIVES = (
    Objective(),
    Objective("loss", "minimize", goal=0.1),
    Objective("f1|macro", "maximize", additional=("loss", "epoch")),
)
STOPPINGS = (None, EarlyStopping(), EarlyStopping(1, 2))


@pytest.fixture(autouse=True)
def katib() -> None:
    need(*KATIB)


def all_experiments() -> Iterator[tuple[TuneSpec, Object]]:
    """Yield a spec, and its Experiment, for each combination that our own checks let through."""
    choices = (SPACES.values(), ALGORITHMS.values(), OBJECTIVES, STOPPINGS, (1, 3), (None, BIG))
    for number, (space, algorithm, objective, stopping, workers, compute) in enumerate(itertools.product(*choices)):
        changes = {"compute": compute} if compute else {}
        try:
            spec = tuning(
                run_id=f"r-{number}", search_space=space, algorithm=algorithm, objective=objective,
                early_stopping=stopping, workers=workers, max_trials=4, max_failed_trials=number % 4,
                parallel_trials=1 if algorithm.name == "grid" else 4, **changes,
            )  # fmt: skip
            yield spec, experiment(spec)
        except InvalidParameter:
            continue


def test_every_experiment_is_admitted() -> None:
    wanted = list(all_experiments())
    asked = wanted if os.environ.get("HYPERFLOW_EXPERIMENTS") == "all" else random.Random(0).sample(wanted, PART)
    machinery()  # one for all threads
    with ThreadPoolExecutor(8) as pool:
        admitted = list(pool.map(ask, [item for _, item in asked]))
    print(f"{len(admitted)} of {len(wanted)} Experiments asked for, all admitted")
    for (spec, _), item in zip(asked, admitted, strict=True):
        assert item["metadata"]["name"] == spec.name
        assert len(item["spec"]["parameters"]) == len(spec.search_space)
        assert item["spec"]["objective"]["metricStrategies"]  # Katib's own hand: it has completed the Experiment


K = Dimension("k", "int", 1, 4)
SEARCHES = {
    "random": ((X, K), {"random_state": "1"}),
    "tpe": ((X, K), {"random_state": "1"}),
    "multivariate-tpe": ((X, K), {"random_state": "1"}),
    "grid": ((Dimension("x", "double", 0.0, 1.0, step=0.5), Dimension("k", "int", 1, 2)), {}),
    "cmaes": ((X, K), {"random_state": "1"}),
    "sobol": ((X, K), {}),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_search_finds_the_best_of_what_it_tried(world: World, name: str) -> None:
    space, settings = SEARCHES[name]
    spec = tuning(
        run_id=f"of-{name}", search_space=space, algorithm=Algorithm(name, settings), max_trials=5, timeout=240,
        parallel_trials=1 if name == "grid" else 2,
    )  # fmt: skip
    check(spec, world.engine.tune(spec))


def check(spec: TuneSpec, result: TuneResult) -> None:
    """See that all trials ended well, within the search space, and that the best is the best by what we know of it."""
    assert [trial.status for trial in result.trials] == ["succeeded"] * spec.max_trials
    for trial in result.trials:
        assert trial.value == pytest.approx(accuracy(float(trial.parameters["x"])), abs=1e-5)
        for parameter in spec.search_space:
            assert parameter.min <= float(trial.parameters[parameter.name]) <= parameter.max
    assert result.best.value == max(trial.value or 0 for trial in result.trials)


def accuracy(x: float, epochs: int = 1) -> float:
    """Return what tests/trainers/line.py says of `x`."""
    return 1 - (x - 0.3) ** 2 - 0.1 / epochs


BAD = Dimension("nan", "discrete", values=(0, 1, 2))
"""What a trial prints as its accuracy: a number, `nan` or `inf`."""


def test_trials_without_a_finite_value_are_never_the_best(world: World) -> None:
    space = (Dimension("x", "discrete", values=(0.3, 0.9)), BAD)
    spec = tuning(
        search_space=space, algorithm=Algorithm("grid"), max_trials=6, max_failed_trials=5, timeout=240,
        parallel_trials=1,  # of several at a time Katib loses points of the grid
        trainer=trainer(pause=3),  # a very short trial can end before its collector starts
    )  # fmt: skip
    result = world.engine.tune(spec)
    assert result.best.parameters == {"x": 0.3, "nan": 0}
    assert result.best.value == pytest.approx(accuracy(0.3))
    bad = {trial.status for trial in result.trials if trial.parameters["nan"]}
    assert "metrics-unavailable" in bad
    assert not bad & {"succeeded", "failed"}  # Katib may have begun with one more than it needed


def test_search_whose_values_are_all_infinite_fails_and_does_not_hang(world: World) -> None:
    with pytest.raises(JobFailed, match="0 gave a finite validation-accuracy"):
        world.engine.tune(tuning(trainer=trainer(nan=2), timeout=240))


def test_bad_trials_are_stopped_early(world: World) -> None:
    """One after the other, so that each but the first is held against those before it."""
    space = (Dimension("x", "discrete", values=(0.3, 0.2, 0.9, 1.1, 1.3)),)
    spec = tuning(
        search_space=space, algorithm=Algorithm("grid", {"random_state": "1"}), early_stopping=EarlyStopping(1, 2),
        trainer=trainer(pause=0.4), epochs=8, max_trials=5, parallel_trials=1, timeout=240,
    )  # fmt: skip
    result = world.engine.tune(spec)
    assert result.best.parameters == {"x": 0.3}
    assert result.best.value == pytest.approx(accuracy(0.3, epochs=8))
    stopped = [trial for trial in result.trials if trial.status == "early-stopped"]
    assert stopped
    for trial in result.trials:
        (text,) = [text for text in printed(world, trial.name) if "epoch=1 " in text]
        assert ("epoch=8 " in text) == (trial.status == "succeeded")


def printed(world: World, trial: str) -> list[str]:
    """Return what the containers of a trial's pods printed."""
    logs = world.parts.kubelet.logs.of(world.namespace)
    return ["\n".join(log.lines) for (pod, _), log in logs.items() if pod.startswith(trial)]


def test_trials_of_two_workers(world: World) -> None:
    spec = tuning(workers=2, max_trials=2, timeout=240)
    check(spec, world.engine.tune(spec))
    ran = {pod for pod, _ in world.parts.kubelet.logs.of(world.namespace)}
    assert sum(pod.endswith(("-chief-0", "-worker-0")) for pod in ran) == 2 * spec.max_trials


def test_hyperband(world: World) -> None:
    """All trials of its brackets at once: Katib's fails after its first bracket where it has to wait for some."""
    space = (X, Dimension("epochs", "int", 1, 4))
    algorithm = Algorithm("hyperband", {"r_l": "4", "eta": "2", "resource_name": "epochs"})
    spec = tuning(search_space=space, algorithm=algorithm, max_trials=8, parallel_trials=8, timeout=240)
    result = world.engine.tune(spec)
    assert len(result.trials) == 8
    assert result.best == max(result.trials, key=lambda trial: trial.value or 0)
    for trial in result.trials:
        assert trial.value == pytest.approx(
            accuracy(float(trial.parameters["x"]), int(trial.parameters["epochs"])), abs=1e-5
        )
