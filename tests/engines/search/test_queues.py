"""The grid, and the rungs of hyperband."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from hyperflow.engines.search import queues
from hyperflow.engines.search import study as studies
from hyperflow.engines.search.queues import Rung
from hyperflow.errors import InvalidParameter
from hyperflow.specs import Algorithm, Dimension, Trainer, TuneSpec

SPACE = (Dimension("epochs", "int", 1, 9), Dimension("x", "double", 0.0, 1.0))


def spec(settings: dict[str, str], **changes: Any) -> TuneSpec:
    algorithm = Algorithm("hyperband", {"resource_name": "epochs", "random_state": "1", **settings})
    made = TuneSpec(
        run_id="run-1", data_path="/data", trainer=Trainer(("python",)), search_space=SPACE, algorithm=algorithm,
        max_trials=50,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def drive(spec: TuneSpec, folder: Path, trials: int = 100, parallel: int = 1) -> list[FrozenTrial]:
    """Take trials from the queue and end them by a known function of `x`; leave off, as if killed, after so many."""
    folder.mkdir(exist_ok=True)
    study = studies.open_study(spec, folder)
    queue, distributions = queues.queue(spec, study), queues.distributions(spec)
    done = 0
    while done < trials:
        batch: list[optuna.Trial] = []
        while len(batch) < parallel and queue.ready():
            batch.append(study.ask(distributions))
        if not batch:
            break
        for trial in batch:
            done += 1
            if done == trials:
                return studies.ended(study)
            trial.set_user_attr(studies.STATUS, "failed" if trial.params["x"] < 0.1 else "succeeded")
            if trial.params["x"] < 0.1:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, trial.params["x"])
    return studies.ended(study)


class TestHyperband:
    def test_brackets_are_those_of_the_paper(self) -> None:
        """Table 1 of Li and others (2018): R = 81, eta = 3."""
        table = [
            [(rung.trials, rung.resource) for rung in bracket] for bracket in queues.brackets(most=81, eta=3)
        ]  # fmt: skip
        assert table == [
            [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
            [(34, 3), (11, 9), (3, 27), (1, 81)],
            [(15, 9), (5, 27), (1, 81)],
            [(8, 27), (2, 81)],
            [(5, 81)],
        ]

    def test_power_of_eta_has_all_its_brackets(self) -> None:
        assert queues.brackets(most=243, eta=3)[0][0] == Rung(5, 0, 243, 1)

    @pytest.mark.parametrize("parallel", [1, 3])
    def test_best_of_each_rung_go_on_with_more(self, tmp_path: Path, parallel: int) -> None:
        ended = drive(spec({"r_l": "9", "eta": "3"}), tmp_path / "study", parallel=parallel)
        assert_rungs(ended, most=9, eta=3)

    def test_killed_search_goes_on_in_the_rung_where_it_stopped(self, tmp_path: Path) -> None:
        wanted = spec({"r_l": "9", "eta": "3"})
        first = drive(wanted, tmp_path / "study", trials=11)
        assert len(first) == 10
        ended = drive(wanted, tmp_path / "study")
        assert ended[:10] == first
        assert_rungs(ended, most=9, eta=3)

    @pytest.mark.parametrize(
        ("settings", "changes", "name"),
        [
            ({"r_l": "9"}, {"max_trials": 12}, "max_trials"),
            ({"r_l": "27"}, {}, "algorithm_settings[r_l]"),
            ({"r_l": "2.5"}, {}, "algorithm_settings[r_l]"),
        ],
        ids=["too few trials for a bracket", "more than the resource's bound", "no whole number"],
    )
    def test_what_it_cannot_carry_through_is_refused(
        self, settings: dict[str, str], changes: dict[str, Any], name: str
    ) -> None:
        with pytest.raises(InvalidParameter) as refused:
            queues.check(spec(settings, **changes))
        assert refused.value.name == name

    def test_first_bracket_is_enough(self) -> None:
        queues.check(spec({"r_l": "9"}, max_trials=13))


class TestGrid:
    SPACE = (Dimension("a", "int", 0, 2), Dimension("x", "discrete", values=(0.2, 0.4, 0.6)))

    def grid(self, folder: Path, settings: dict[str, str], trials: int) -> list[dict[str, Any]]:
        algorithm = Algorithm("grid", settings)
        wanted = spec({"r_l": "9"}, algorithm=algorithm, search_space=self.SPACE, max_trials=trials)
        return [trial.params for trial in drive(wanted, folder)]

    def test_each_combination_once(self, tmp_path: Path) -> None:
        tried = self.grid(tmp_path, {}, trials=9)
        combinations = itertools.product(range(3), (0.2, 0.4, 0.6))
        assert tried == [{"a": a, "x": x} for a, x in combinations]

    def test_random_state_gives_the_order(self, tmp_path: Path) -> None:
        plain = self.grid(tmp_path / "plain", {}, trials=9)
        one, again, other = (
            self.grid(tmp_path / name, {"random_state": seed}, trials=9)
            for name, seed in (("one", "1"), ("again", "1"), ("other", "2"))
        )
        assert one == again != other
        assert one != plain
        for tried in (one, other):
            assert sorted(map(str, tried)) == sorted(map(str, plain))

    def test_part_of_it(self, tmp_path: Path) -> None:
        tried = self.grid(tmp_path, {"random_state": "1"}, trials=4)
        assert len({str(values) for values in tried}) == 4


def assert_rungs(ended: list[FrozenTrial], most: int, eta: int) -> None:
    """See that each rung has its trials with its resource, and that they are the best of the rung below."""
    by_rung: dict[tuple[int, int], list[FrozenTrial]] = {}
    for trial in ended:
        by_rung.setdefault(tuple(trial.user_attrs["rung"]), []).append(trial)
    below: list[FrozenTrial] = []
    for rung in itertools.chain.from_iterable(queues.brackets(most, eta)):
        trials = by_rung.pop((rung.bracket, rung.number))
        assert Counter(trial.params["epochs"] for trial in trials) == {rung.resource: rung.trials}
        if rung.number:
            wanted = sorted((trial.params["x"] for trial in below), reverse=True)[: rung.trials]
            assert sorted((trial.params["x"] for trial in trials), reverse=True) == wanted
        below = [trial for trial in trials if trial.value is not None]
    assert not by_rung
