"""What is found out about models: how two compare, whether one deserves to be served, how far users drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_CHANCE = 0.01
"""Probability from which a difference counts as the sample's, however large it is."""


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


@dataclass(frozen=True)
class InputDrift:
    """How far the inputs are from the training set.

    Args:
        inputs: How many pictures were compared, the newest.
        mean_shift: Mean over the pixels of the difference of their means, in 0 to 255; above 0 is brighter.
        spread_shift: The same of their standard deviations.
        statistic: Largest Kolmogorov-Smirnov statistic of the dimensions, 0 to 1.
        p_value: Probability of one as large if nothing has changed, corrected for the number of dimensions.
        observed: Share of the pictures by their mean brightness, in equal steps from 0 to 255.
        expected: The same of the training set.
    """

    inputs: int
    mean_shift: float
    spread_shift: float
    statistic: float
    p_value: float
    observed: Sequence[float] = ()
    expected: Sequence[float] = ()

    @property
    def text(self) -> str:
        """All of it in a line."""
        return (
            f"{self.inputs} pictures: statistic {self.statistic:.3f} (p {self.p_value:.2g}), "
            f"brightness {self.mean_shift:+.1f} and spread {self.spread_shift:+.1f} of 255"
        )

    def exceeds(self, threshold: float) -> bool:
        """Tell whether the inputs have drifted by more than a threshold, not by the sample's chance; 0 for never."""
        return self.statistic > threshold > 0 and self.p_value < _CHANCE
