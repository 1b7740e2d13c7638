"""What is done beside its work when a step, or a whole run, has ended, well or badly; it never changes how that ended.

An ending has the parameter that switches it on. Where that is empty, nothing of it is imported. Where it fails, a
warning names the command that makes up for it, and is kept for the run's report.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hyperflow import volume
from hyperflow.errors import Cancelled, HyperflowError
from hyperflow.volume import notices, paths, records, runs
from hyperflow.volume.records import Asked

SECONDS, TOTAL = 5.0, 15.0
"""How long an ending may wait for one answer, and for all of them; one that was stopped has SECONDS for all."""

SHARE = 0.02
"""Share of a run's time that endings of steps may take: one that would take more is left to a later step."""


@dataclass(frozen=True)
class Ending:
    """Something that is done at an end.

    Args:
        parameter: The parameter with an address that switches it on.
        failed: What is said of a run where it fails.
        command: The command that makes up for it; the run and the volume's folder are added.
        do: Does it, of a run, with the address. It gets how the run has ended, if it is known to have, FAILED or
            KILLED, and the seconds that it may take in all.
    """

    parameter: str
    failed: str
    command: str
    do: Callable[[str, str, str, float], None]


def _track(run_id: str, uri: str, state: str, total: float) -> None:
    from hyperflow import tracking

    tracking.sync(run_id, tracking.Server(uri, seconds=SECONDS, total=total), state)


def _register(run_id: str, uri: str, state: str, total: float) -> None:
    from hyperflow.tracking.registry import Registry
    from hyperflow.tracking.versions import sync

    sync(run_id, Registry(uri, seconds=SECONDS, total=total), state)


ENDINGS = (
    Ending("tracking_uri", "is not written down on the MLflow server", "sync --tracking-uri", _track),
    Ending("model_registry", "is not in the Model Registry as it should be", "sync --model-registry", _register),
)


@contextmanager
def after(
    run_id: str, warn: Callable[[str], None], given: Mapping[str, Any] = MappingProxyType({}), *, last: bool = False
) -> Iterator[None]:  # fmt: skip
    """Do what the run asked for once the block has ended; an error of the block stays the error.

    Args:
        run_id: The run. One that was refused, of which nothing is kept, asked for nothing.
        warn: Called with each warning.
        given: Parameters that go before those that are kept.
        last: Whether nothing follows that could do it. What fails, or completes the run, is taken for the last too.
    """
    state = ""
    try:
        yield
    except (Cancelled, KeyboardInterrupt):
        state = "KILLED"
        raise
    except BaseException:
        state = "FAILED"
        raise
    finally:
        asked = records.read(run_id, Asked)
        values = {**asked.values, **given} if asked else {}
        for ending in ENDINGS:
            address = values.get(ending.parameter)
            if address and (state or last or runs.is_complete(run_id) or _is_due(ending, run_id)):
                _carry_out(ending, run_id, str(address), state, warn)


def _is_due(ending: Ending, run_id: str) -> bool:
    """Tell whether enough of the run's time has passed since the ending was done last, however long that took."""
    try:
        kept = paths.ending(run_id, ending.parameter)
        return time.time() - kept.stat().st_mtime >= float(kept.read_text()) / SHARE
    except (OSError, ValueError):
        return True


def _carry_out(ending: Ending, run_id: str, address: str, state: str, warn: Callable[[str], None]) -> None:
    began = time.monotonic()
    try:
        ending.do(run_id, address, state, SECONDS if state == "KILLED" else TOTAL)
        warning = ""
    except Exception as error:  # whatever goes wrong here, the work is done, or has failed of something else
        why = str(error) if isinstance(error, HyperflowError) else f"{type(error).__name__}: {error}"
        name, *options = ending.command.split()
        words = ["hyperflow", name, run_id, *options, address, "--folder", str(volume.root())]
        warning = f"run {run_id} {ending.failed}: {why}\n  to do so: {shlex.join(words)}"
        warn(warning)
    with contextlib.suppress(OSError, HyperflowError):  # a full disk is told by who needs it
        notices.keep(run_id, ending.parameter, warning)
        volume.write_text(paths.ending(run_id, ending.parameter), f"{time.monotonic() - began:.3f}")
