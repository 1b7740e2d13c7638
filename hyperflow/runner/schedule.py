"""Run again and again, for machines without a scheduler."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from hyperflow.errors import Cancelled, HyperflowError, InvalidParameter

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


def forever(every: float, run: Callable[[], object], say: Callable[[str], None]) -> None:
    """Start a run every so many seconds, never two at a time; what was missed meanwhile is not made up for.

    A run that fails is said and does not end the others; being told to stop does.

    Args:
        every: Seconds from start to start.
        run: One run.
        say: Told of failures and of the next start.
    """
    while True:
        started = time.time()
        try:
            run()
        except Cancelled:
            raise
        except HyperflowError as error:
            say(f"error: {error.told}")
        following = next_start(started, every, time.time())
        say(f"next run at {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(following))}; Ctrl-C ends this")
        time.sleep(max(0.0, following - time.time()))


def next_start(started: float, every: float, now: float) -> float:
    """Return the first time after now that is a whole number of spans after the start."""
    return started + every * (int((now - started) // every) + 1)
