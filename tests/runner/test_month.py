"""A month on the small data set: every verdict right and readable, and the service never down."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperflow.engines.local import processes
from tests.runner.month import Asker, Machine, Supply, ask

pytestmark = pytest.mark.long

SMALL = Path(__file__).parents[1] / "data" / "fashion-mnist-small"
SETTINGS = (
    "dataset=month", "max_trials=1", "epochs=2", "accuracy_floor=0.01", "smoke_accuracy_floor=0.2",
    "smoke_instances=50", "retune_drift=0", 'trainer_arguments={"model": "mlp"}', "trial_arguments={}",
    'algorithm_settings={"random_state": "1"}',
)  # fmt: skip
TWINS = ("twin-a", "twin-b")


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Asker]]:
    """A first model, two runs at one time on better data, a clone of them, and corrupted data."""
    root = tmp_path_factory.mktemp("month")
    supply, machine = Supply(SMALL), Machine(root / "volume", SETTINGS)
    try:
        with processes.launcher():  # TensorFlow is imported once for all the runs
            first = machine.run("first", supply.write(root / "first", 150))
            with Asker(first["endpoint"], supply.test_images) as asker:
                together(machine, TWINS, supply.write(root / "better", 1450))
                machine.run("clone", root / "better")
                for _ in range(4):
                    ask(first["endpoint"], np.zeros((250, 28, 28), dtype=np.uint8))
                machine.run("corrupted", supply.write(root / "corrupted", 1450, 0.9))
        yield machine, asker
    finally:
        machine.stop()
        shutil.rmtree(root)


def together(machine: Machine, run_ids: Sequence[str], source: Path) -> None:
    for process in [machine.start(run_id, source) for run_id in run_ids]:
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output


def decision(month: tuple[Machine, Asker], run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = month[0].summary(run_id)["decision"]
    return found


def test_first_goes_live(month: tuple[Machine, Asker]) -> None:
    assert decision(month, "first")["outcome"] == "deployed"
    assert "none is served" in decision(month, "first")["reason"]


def test_one_of_two_overlapping_runs_is_promoted_and_the_other_says_why_not(month: tuple[Machine, Asker]) -> None:
    winner, loser = sorted(TWINS, key=lambda run_id: decision(month, run_id)["outcome"])
    assert decision(month, winner)["outcome"] == "deployed"
    assert "is better than" in decision(month, winner)["reason"]
    assert "(run first) on the same 500 test images (p = " in decision(month, winner)["reason"]
    assert decision(month, loser)["outcome"] == "refused"
    assert "by no more than noise" in decision(month, loser)["reason"]
    assert f"now serving (run {winner})" in decision(month, loser)["reason"]


def test_known_values_are_trained_with_without_a_search(month: tuple[Machine, Asker]) -> None:
    for run_id in TWINS:
        summary = month[0].summary(run_id)
        assert summary["best_parameters"] == month[0].summary("first")["best_parameters"]
        assert "tune" not in summary["seconds"]


def test_clone_of_what_is_served_is_skipped(month: tuple[Machine, Asker]) -> None:
    assert decision(month, "clone")["outcome"] == "skipped", decision(month, "clone")["reason"]
    assert "those of the model now serving (run twin-" in decision(month, "clone")["reason"]
    assert list(month[0].summary("clone")["seconds"]) == ["check", "load_data", "plan"]


def test_corrupted_is_refused(month: tuple[Machine, Asker]) -> None:
    assert decision(month, "corrupted")["outcome"] == "refused"
    assert "is worse than" in decision(month, "corrupted")["reason"]


def test_service_was_never_down(month: tuple[Machine, Asker]) -> None:
    assert month[1].failures == []
    assert month[1].answered > 50


def test_drift_is_measured_on_what_others_asked(month: tuple[Machine, Asker]) -> None:
    """Many blank images since the last look: most answers are of one class, and the 500 test images are left out."""
    drift = json.loads((month[0].volume / "runs" / "corrupted" / "steps" / "plan.json").read_text())["drift"]
    assert 1000 <= drift["instances"] <= 1000 + month[1].answered
    assert max(drift["observed"]) > 0.5
    assert drift["psi"] > 0.25
    assert drift["p_value"] < 0.001
    assert "stability index" in Path(month[0].summary("corrupted")["report"]).read_text()


def test_report_shows_plan_and_verdict(month: tuple[Machine, Asker]) -> None:
    report = Path(month[0].summary("corrupted")["report"]).read_text()
    for words in ("Plan", "Verdict", "right only by the candidate", "McNemar", "changed since run twin-"):
        assert words in report


def test_cards_remember_what_was_decided(month: tuple[Machine, Asker]) -> None:
    folder = month[0].volume / "models" / "fashion-mnist"
    cards = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/card.json")}
    assert (cards["first"]["deploy"], cards["first"]["since_tuning"]) == (True, 0)
    assert (cards["corrupted"]["deploy"], cards["corrupted"]["against"][:5]) == (False, "twin-")
    released = json.loads((folder / "released.json").read_text())
    assert released == ["first", cards["corrupted"]["against"]]
