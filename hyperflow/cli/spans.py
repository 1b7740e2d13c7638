"""Spans of time, as `--every` takes them."""

from __future__ import annotations

import re

from hyperflow.errors import InvalidParameter

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Read a span of time such as `90m`, `6h` or `1d`.

    Raises:
        InvalidParameter: It does not read as one, or is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    span = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if span <= 0:
        raise InvalidParameter("--every", text, "a number above 0 and a unit, s, m, h or d: 30m, 6h, 1d")
    return span
