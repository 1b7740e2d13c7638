"""Run again and again, for machines without a scheduler."""

from __future__ import annotations

import time
from collections.abc import Callable

from hyperflow.errors import Cancelled, HyperflowError


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
