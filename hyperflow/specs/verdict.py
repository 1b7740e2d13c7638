"""What is found out about models: how two compare, whether one deserves to be served, how far answers drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Two models on the same test images.

    Args:
        images: How many images.
        candidate: The candidate's accuracy, 0 to 1.
        serving: The serving model's accuracy, 0 to 1.
        p_value: Probability of a difference like this one, or larger, if the candidate were no better.
        test: Which test gave it.
        gained: Images that only the candidate reads right; -1 where the images' answers are not known.
        lost: Images that only the serving model reads right; -1 likewise.
    """

    images: int
    candidate: float
    serving: float
    p_value: float
    test: str
    gained: int = -1
    lost: int = -1


@dataclass(frozen=True)
class Rule:
    """What a model must come up to.

    Args:
        floor: Least accuracy on the test set, 0 to 1.
        significance: Largest probability that its lead over the serving model is chance, 0 to 1.
        force: Whether to deploy it in any case.
    """

    floor: float
    significance: float = 0.05
    force: bool = False


@dataclass(frozen=True)
class Decision:
    """The gate's answer and its reason.

    Args:
        deploy: Whether to serve the candidate.
        reason: One sentence with the numbers.
        forced: Whether it is deployed against the rule.
    """

    deploy: bool
    reason: str
    forced: bool = False


@dataclass(frozen=True)
class Drift:
    """How far the answers are from the training set.

    Args:
        instances: Answers since the last look.
        observed: Their share by class.
        expected: The training set's share by class.
        psi: Population stability index.
        chi_square: Pearson's statistic.
        p_value: Probability of such a statistic, or a larger one, if nothing has changed.
        confidence: Mean probability of the answered classes.
        expected_confidence: The same on the test set.
    """

    instances: int
    observed: Sequence[float]
    expected: Sequence[float]
    psi: float
    chi_square: float
    p_value: float
    confidence: float
    expected_confidence: float
