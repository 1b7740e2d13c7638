"""What a recurring run decides to do, fact by fact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hyperflow import translation, volume
from hyperflow.datasets import Dataset
from hyperflow.parameters import Parameters
from hyperflow.specs import Endpoint, ModelRef
from hyperflow.steps import Step
from hyperflow.steps.plan import Facts, choose, gather
from hyperflow.volume import cards
from hyperflow.volume.cards import Card

KNOWN = {"learning_rate": 0.01, "batch_size": 64}
SERVING = Card("old", "data-1", "code-1", KNOWN, 0.9)
REFUSED = Card("tried", "data-2", "code-1", KNOWN, 0.89, deploy=False, reason="it was worse", against="old")
SAME = Facts("data-1", "code-1", KNOWN, SERVING)
NEW = replace(SAME, data="data-2", accuracy=0.9)


@pytest.mark.parametrize(
    ("facts", "asked", "action", "says"),
    [
        (SAME, {}, "skip", "those of the model now serving (run old)"),
        (replace(SAME, parameters={**KNOWN, "batch_size": 64.0}), {}, "skip", "run old"),
        (replace(SAME, psi=9.0, since_tuning=99), {"retune_every": 2}, "skip", "run old"),
        (SAME, {"force": True}, "train", "force is set"),
        (NEW, {}, "train", "the data changed since run old"),
        (replace(SAME, code="code-2"), {}, "train", "the trainer changed"),
        (replace(SAME, parameters={"learning_rate": 0.02}), {}, "train", "best_parameters changed"),
        (replace(NEW, refused=REFUSED), {}, "skip", "run tried has tried this data and trainer already"),
        (replace(NEW, refused=REFUSED), {"force": True}, "train", "the data changed"),
        (replace(NEW, since_tuning=3), {"retune_every": 3}, "tune", "retune_every is 3"),
        (replace(NEW, since_tuning=2), {"retune_every": 3}, "train", "the data changed"),
        (replace(NEW, accuracy=0.87), {}, "tune", "has fallen from 0.9000 to 0.8700"),
        (replace(NEW, accuracy=0.89), {}, "train", "the data changed"),
        (replace(NEW, accuracy=0.5), {"retune_accuracy_drop": 0.0}, "train", "the data changed"),
        (replace(NEW, psi=0.3), {}, "tune", "stability index is 0.300"),
        (replace(NEW, psi=0.2), {}, "train", "the data changed"),
        (replace(NEW, psi=9.0), {"retune_drift": 0.0}, "train", "the data changed"),
        (replace(NEW, psi=9.0), {"best_parameters": KNOWN}, "train", "the data changed"),
        (Facts("data-1", "code-1", {}, None), {}, "tune", "no hyper-parameters are known"),
        (Facts("data-1", "code-1", KNOWN, None), {"best_parameters": KNOWN}, "train", "no model is served"),
    ],
)
def test_choice(facts: Facts, asked: dict[str, Any], action: str, says: str) -> None:
    plan = choose(facts, Parameters.complete(asked))
    assert (plan.action, says in plan.reason) == (action, True), plan.reason
    assert dict(plan.parameters) == ({} if action == "tune" else dict(facts.parameters))


def code(**values: Any) -> str:
    asked = Parameters.complete(values)
    return cards.code(translation.trainer(asked), translation.epochs(asked), asked.workers, asked.parameter_servers)


def test_code_is_program_image_arguments_and_size(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text("print(1)")
    own: dict[str, Any] = {"trainer_command": ["python", str(program)]}
    variants = [code(), code(trainer_image="x:1"), code(trainer_arguments={"seed": 1}), code(epochs=3), code(**own)]
    program.write_text("print(2)")
    variants.append(code(**own))
    assert len(set(variants)) == len(variants)
    assert code() == code(cpu="8", memory="9Gi", model_name="other", data_source="/elsewhere")
    assert code(trainer_arguments={"seed": 1}) == code(trainer_arguments={"seed": 1.0})


def test_cards_come_in_the_order_they_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    for index, name in enumerate(["c", "a", "b"]):
        cards.write("m", replace(SERVING, run_id=name, made=float(index)))
    (tmp_path / "models" / "m" / "broken").mkdir()
    (tmp_path / "models" / "m" / "broken" / "card.json").write_text("{")
    assert [card.run_id for card in cards.all_of("m")] == ["c", "a", "b"]
    for name in ("c", "a", "b", "a"):
        cards.goes_live("m", name)
    assert cards.gone_live("m") == ["b", "a"]


class TestFacts:
    """What is found out from the cards on the volume, about a service that is only written down."""

    ENDPOINT = Endpoint("m", "http://127.0.0.1:9", ModelRef("/m/old", "old", 0.9, "digest", KNOWN))

    @pytest.fixture(autouse=True)
    def volume(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))

    def plan(self, **asked: Any) -> str:
        dataset = Dataset("d", "/data/d/digest", "digest", 10, 10, ("a", "b"))
        parameters = Parameters.complete({"model_name": "m", **asked})
        found = gather(Step("plan", "now"), parameters, dataset, self.ENDPOINT, None)
        return choose(found, parameters).reason

    def remember(self, run_id: str, **changes: Any) -> None:
        card = Card(run_id, "digest", code(model_name="m"), KNOWN, 0.9, made=float(len(cards.all_of("m"))))
        cards.write("m", replace(card, **changes))

    def test_served_model_of_the_same_data_and_trainer(self) -> None:
        self.remember("old")
        assert "those of the model now serving (run old)" in self.plan()

    def test_served_model_without_a_card(self) -> None:
        assert "the trainer changed since run old" in self.plan()

    def test_served_model_of_another_trainer(self) -> None:
        self.remember("old", code="other")
        assert "the trainer changed since run old" in self.plan()

    @pytest.mark.parametrize("found", [{"since_tuning": 4}, {"since_tuning": 0, "parameters": {"learning_rate": 1}}])
    def test_refused_with_the_same_values_or_after_a_search(self, found: dict[str, Any]) -> None:
        self.remember("old", code="other")
        self.remember("tried", deploy=False, against="old", reason="it was worse", **found)
        assert "run tried has tried this data and trainer already and was refused: it was worse" in self.plan()
        assert "the trainer and best_parameters changed" in self.plan(best_parameters={"learning_rate": 0.5})

    @pytest.mark.parametrize(
        "found",
        [
            {"against": "an earlier one"},
            {"deploy": None},
            {"deploy": True},
            {"data": "other"},
            {"since_tuning": 1, "parameters": {"learning_rate": 1}},
        ],
    )
    def test_other_cards_stop_nothing(self, found: dict[str, Any]) -> None:
        self.remember("old", code="other")
        self.remember("tried", **{"deploy": False, "against": "old", "since_tuning": 4, **found})
        assert "the trainer changed since run old" in self.plan()

    def test_trainings_since_the_search_are_counted_over_refused_ones(self) -> None:
        self.remember("old", code="other", since_tuning=0)
        self.remember("tried", deploy=False, against="old", data="other", since_tuning=1)
        assert "training 2 since the last search" in self.plan(retune_every=2)
