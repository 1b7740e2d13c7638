"""Metric lines, as trainers print them and Katib reads them."""

from __future__ import annotations

import pytest

from hyperflow import metrics


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("epoch=1 loss=0.25", {"epoch": 1, "loss": 0.25}),
        ("loss = -1.5e-3, accuracy=+.5", {"loss": -0.0015, "accuracy": 0.5}),
        ("validation-accuracy=0.9|x", {"validation-accuracy": 0.9}),
        ("loss=nan", {}),
        ("loss: 0.3", {}),
        ("val/loss=0.3", {"loss": 0.3}),
        ("", {}),
    ],
)
def test_metric_lines_read_as_katib_reads_them(line: str, seen: dict[str, float]) -> None:
    assert metrics.parse_line(line) == seen
