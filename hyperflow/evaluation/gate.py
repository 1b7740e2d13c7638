"""Whether a new model deserves to be served: a floor, and better than what is served by more than chance."""

from __future__ import annotations

from dataclasses import replace

from hyperflow.specs import Answer, Comparison, Decision, ModelRef, Rule


def decide(candidate: ModelRef, serving: ModelRef | None, comparison: Comparison | None, rule: Rule) -> Decision:
    """Compare a candidate with the floor and with the model now serving.

    Args:
        candidate: The new model.
        serving: What is served now, or None.
        comparison: Both on the same test images; None where nothing, or this very model, is served, or where the
            served one did not answer.
        rule: What the candidate must come up to.
    """
    decision = _judge(candidate, serving, comparison, rule)
    if rule.force and not decision.deploy:
        return Decision(True, f"forced, although {decision.reason}", forced=True)
    return decision


def _judge(candidate: ModelRef, serving: ModelRef | None, comparison: Comparison | None, rule: Rule) -> Decision:
    accuracy = f"its accuracy of {candidate.accuracy:.4f}"
    if serving and serving.run_id == candidate.run_id:
        return Decision(True, f"it is being served already, with an accuracy of {candidate.accuracy:.4f}")
    if candidate.accuracy < rule.floor:
        return Decision(False, f"{accuracy} is below the floor of {rule.floor:.4f}")
    if serving is None:
        return Decision(True, f"{accuracy} reaches the floor of {rule.floor:.4f}; none is served")
    if comparison is None:
        return Decision(
            False, f"the model now serving (run {serving.run_id}) did not answer, so nothing is known of it"
        )
    served = f"the {comparison.serving:.4f} of the model now serving (run {serving.run_id})"
    on = f"on the same {comparison.images} test images (p = {_p(comparison.p_value)}"
    if comparison.candidate < comparison.serving:
        return Decision(False, f"{accuracy} is worse than {served} {on})")
    if comparison.candidate == comparison.serving or comparison.p_value >= rule.significance:
        return Decision(
            False, f"{accuracy} differs from {served} by no more than noise {on}, not below {rule.significance:g})"
        )
    return Decision(True, f"{accuracy} is better than {served} {on}, below {rule.significance:g})")


def with_approval(decision: Decision, answer: Answer) -> Decision:
    """Let a person have the last word on a model that is to be deployed."""
    if answer.approved:
        return replace(decision, reason=f"{decision.reason}; {answer}")
    return Decision(False, f"{answer}, although {decision.reason}")


def verdict(
    candidate: ModelRef, serving: ModelRef | None, comparison: Comparison | None, rule: Rule, decision: Decision
) -> str:
    """Write the decision and all its numbers as Markdown."""
    answer = "deploy (forced)" if decision.forced else "deploy" if decision.deploy else "skip"
    rows = [("floor", f"{rule.floor:.4f}"), ("candidate", f"{candidate.accuracy:.4f} (run {candidate.run_id})")]
    if comparison and serving:
        rows += [
            ("now serving, on the same test set", f"{comparison.serving:.4f} (run {serving.run_id})"),
            ("test images", str(comparison.images)),
            ("difference", f"{100 * (comparison.candidate - comparison.serving):+.2f} percentage points"),
        ]
        if comparison.gained >= 0:
            rows += [
                ("right only by the candidate", str(comparison.gained)),
                ("right only by the serving model", str(comparison.lost)),
            ]
        rows += [
            (comparison.test, f"p = {_p(comparison.p_value)}"),
            ("significance asked for", f"p < {rule.significance:g}"),
        ]
    table = "".join(f"| {name} | {value} |\n" for name, value in rows)
    return f"**{answer}**: {decision.reason}\n\n| | |\n|---|---|\n{table}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
