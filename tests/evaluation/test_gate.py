"""The gate: every verdict is right, and says by which numbers."""

from __future__ import annotations

import pytest

from hyperflow.evaluation import gate
from hyperflow.evaluation.compare import PAIRED, Comparison
from hyperflow.evaluation.gate import Rule
from hyperflow.specs import ModelRef

NEW, OLD = ModelRef("/m/new", "new", 0.9), ModelRef("/m/old", "old", 0.95)


def against(serving: float, p_value: float) -> Comparison:
    return Comparison(1000, 0.9, serving, p_value, PAIRED, 40, 30)


@pytest.mark.parametrize(
    ("serving", "comparison", "floor", "deploys", "says"),
    [
        (None, None, 0.9, True, "none is served"),
        (None, None, 0.91, False, "below the floor of 0.9100"),
        (OLD, against(0.88, 0.01), 0.5, True, "is better than the 0.8800"),
        (OLD, against(0.88, 0.05), 0.5, False, "no more than noise"),
        (OLD, against(0.9, 0.01), 0.5, False, "no more than noise"),
        (OLD, against(0.92, 0.99), 0.5, False, "is worse than the 0.9200"),
        (OLD, against(0.88, 0.01), 0.91, False, "below the floor"),
        (OLD, None, 0.5, False, "did not answer"),
        (NEW, None, 0.95, True, "served already"),
    ],
)
def test_decision(
    serving: ModelRef | None, comparison: Comparison | None, floor: float, deploys: bool, says: str
) -> None:
    decision = gate.decide(NEW, serving, comparison, Rule(floor))
    assert decision.deploy is deploys
    assert says in decision.reason
    assert "0.9000" in decision.reason or comparison is None
    assert not decision.forced
    forced = gate.decide(NEW, serving, comparison, Rule(floor, force=True))
    assert forced.deploy is True
    assert forced.forced is not deploys


def test_recorded_accuracy_of_the_serving_model_is_not_trusted() -> None:
    """Its annotation says 0.95, its answers say 0.88."""
    assert gate.decide(NEW, OLD, against(0.88, 0.01), Rule(0.5)).deploy is True


def test_significance_is_the_users() -> None:
    assert gate.decide(NEW, OLD, against(0.88, 0.03), Rule(0.5, significance=0.01)).deploy is False


def test_verdict_has_every_number() -> None:
    comparison, rule = against(0.88, 0.0123), Rule(0.85)
    text = gate.verdict(NEW, OLD, comparison, rule, gate.decide(NEW, OLD, comparison, rule))
    for figure in (
        "**deploy**",
        "0.8500",
        "0.9000",
        "0.8800",
        "+2.00",
        "1000",
        "| 40 |",
        "| 30 |",
        "p = 0.012",
        "0.05",
    ):
        assert figure in text


def test_verdict_records_that_it_was_forced() -> None:
    rule = Rule(0.99, force=True)
    text = gate.verdict(NEW, None, None, rule, gate.decide(NEW, None, None, rule))
    assert text.startswith("**deploy (forced)**: forced, although its accuracy of 0.9000 is below the floor of 0.9900")
