"""Metric lines: the `name=value` text by which a trainer tells an engine how it is doing.

The grammar is that of Katib's StdOut collector, so that one trainer serves both engines: `name=value` anywhere in a
line, whatever stands around it. Katib takes the names that it was told to; where all of them are taken, what TensorFlow
logs by itself has to be told from what a trainer prints.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

# Katib v0.19, pkg/metricscollector/v1beta1/common/const.go: the default TEXT filter. Names take no `/` or `.`.
_METRIC = re.compile(r"([\w|-]+)\s*=\s*([+-]?\d*(?:\.\d+)?(?:[Ee][+-]?\d+)?)")

# The heads of TensorFlow's and absl's C++ logs: level, time and the source line, which no Python program prints.
#   I0000 00:00:1795633712.917311    8902 port.cc:153] oneDNN custom operations are on. …  `TF_ENABLE_ONEDNN_OPTS=0`.
#   2026-11-25 19:08:32.917311: I tensorflow/core/util/port.cc:153] …
_NATIVE_LOG = re.compile(
    r"(?:[IWEF]\d{4} [\d:.]+\s+\d+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF]) \S+\.(?:cc|cu|cpp|h)(?:\.cc)?:\d+\]"
)

PENALTY = 1e9
"""The magnitude printed in place of a value that is not finite: Katib reads `nan` as an empty text,
and an empty text can become the best one."""


def parse_line(line: str) -> dict[str, float]:
    """Read the metrics of one line; text around them, names without a finite number and native logs are passed over."""
    if _NATIVE_LOG.match(line):
        return {}
    return {name: float(value) for name, value in _METRIC.findall(line) if _is_number(value)}


def history(lines: Iterable[str]) -> dict[str, list[float]]:
    """Read every value of every metric, in the order printed."""
    values: dict[str, list[float]] = {}
    for line in lines:
        for name, value in parse_line(line).items():
            values.setdefault(name, []).append(value)
    return values


def curve(lines: Iterable[str]) -> dict[str, list[float]]:
    """Read every value of every metric, one an epoch, of a log that several attempts may have written.

    Where an epoch is printed again, by an attempt that went on before it, what came of it and of all after it is the
    later attempt's. Without `epoch=` there is nothing to tell attempts by.
    """
    lines = list(lines)
    epochs: dict[float, dict[str, float]] = {}
    values: dict[str, float] = {}
    for line in lines:
        seen = parse_line(line)
        if "epoch" in seen:
            for later in [epoch for epoch in epochs if epoch > seen["epoch"]]:
                del epochs[later]
            values = epochs.setdefault(seen["epoch"], {})
        values.update(seen)
    if not epochs:
        return history(lines)
    names = {name: None for row in epochs.values() for name in row}
    return {name: [row[name] for row in epochs.values() if name in row] for name in names}


def latest(lines: Iterable[str]) -> dict[str, float]:
    """Read the last value of every metric."""
    return {name: values[-1] for name, values in history(lines).items()}


def _is_number(text: str) -> bool:
    return any(character.isdigit() for character in text) and math.isfinite(float(text))
