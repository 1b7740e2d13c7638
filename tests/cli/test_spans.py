"""Spans of time on the command line."""

from __future__ import annotations

import pytest

from hyperflow.cli import spans
from hyperflow.errors import InvalidParameter


@pytest.mark.parametrize(("text", "span"), [("90s", 90), ("30m", 1800), ("6h", 21600), ("1d", 86400), ("1.5h", 5400)])
def test_spans(text: str, span: float) -> None:
    assert spans.seconds(text) == span


@pytest.mark.parametrize("text", ["", "6", "h", "-1h", "0m", "6 h", "1w"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="--every"):
        spans.seconds(text)
