"""Metric lines: the `name=value` text by which a trainer tells an engine how it is doing.

The grammar is that of Katib's StdOut collector, so that one trainer serves both engines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

# Katib v0.19, pkg/metricscollector/v1beta1/common/const.go: the default TEXT filter. Names take no `/` or `.`.
_METRIC = re.compile(r"([\w|-]+)\s*=\s*([+-]?\d*(?:\.\d+)?(?:[Ee][+-]?\d+)?)")

PENALTY = 1e9
"""The magnitude printed in place of a value that is not finite: Katib reads `nan` as an empty text,
and an empty text can become the best one."""


def parse_line(line: str) -> dict[str, float]:
    """Read the metrics of one line; text around them, and names without a finite number, are passed over."""
    return {name: float(value) for name, value in _METRIC.findall(line) if _is_number(value)}


def history(lines: Iterable[str]) -> dict[str, list[float]]:
    """Read every value of every metric, in the order printed."""
    values: dict[str, list[float]] = {}
    for line in lines:
        for name, value in parse_line(line).items():
            values.setdefault(name, []).append(value)
    return values


def latest(lines: Iterable[str]) -> dict[str, float]:
    """Read the last value of every metric."""
    return {name: values[-1] for name, values in history(lines).items()}


def _is_number(text: str) -> bool:
    return any(character.isdigit() for character in text) and math.isfinite(float(text))
