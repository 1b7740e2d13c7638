"""Whether a new model deserves to be served: a floor, and no worse than what is served now."""

from __future__ import annotations

from dataclasses import dataclass

from hyperflow.specs import ModelRef


@dataclass(frozen=True)
class Decision:
    """The gate's answer and its reason.

    Args:
        deploy: Whether to serve the candidate.
        reason: One sentence with the numbers.
    """

    deploy: bool
    reason: str


def decide(candidate: ModelRef, serving: ModelRef | None, floor: float) -> Decision:
    """Compare a candidate's accuracy on the test set with a floor and with the model now serving.

    Args:
        candidate: The new model.
        serving: What is served now, or None.
        floor: Least accuracy, 0 to 1.
    """
    if candidate.accuracy < floor:
        return Decision(False, f"its accuracy of {candidate.accuracy:.4f} is below the floor of {floor:.4f}")
    if serving is None:
        return Decision(
            True, f"its accuracy of {candidate.accuracy:.4f} reaches the floor of {floor:.4f}; none is served"
        )
    if serving.run_id == candidate.run_id:
        return Decision(True, f"it is being served already, with an accuracy of {candidate.accuracy:.4f}")
    if candidate.accuracy < serving.accuracy:
        return Decision(
            False,
            f"its accuracy of {candidate.accuracy:.4f} is below the {serving.accuracy:.4f} "
            f"of the model now serving (run {serving.run_id})",
        )
    return Decision(
        True,
        f"its accuracy of {candidate.accuracy:.4f} reaches the floor of {floor:.4f} and the {serving.accuracy:.4f} "
        f"of the model now serving (run {serving.run_id})",
    )
