"""What all steps share: their time, their record, and one clear message where they fail."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from hyperflow import progress, translation
from hyperflow.errors import Cancelled, HyperflowError, Unavailable
from hyperflow.parameters import Parameters
from hyperflow.specs import check_run_id
from hyperflow.steps import endings
from hyperflow.steps.trace import traced
from hyperflow.volume import records
from hyperflow.volume.records import Record

RUN_ID = "HYPERFLOW_RUN_ID"
"""Environment variable that names the run where KFP's own id would not do: on this machine, so that a run can go on."""

DEBUG = "HYPERFLOW_DEBUG"
"""Environment variable that asks for tracebacks."""


@dataclass
class Step:
    """One step of one run, while it runs.

    Args:
        stage: Its name.
        run_id: The run's id.
        record: What came of it, once that is known.
    """

    stage: str
    run_id: str
    record: Record | None = field(default=None, init=False)

    def keep(self, record: Record) -> None:
        """Have what came of the step written down when it has ended well."""
        self.record = record

    def asked(self) -> Parameters:
        """Return every parameter that the run was asked for, as its first step has kept them.

        Raises:
            Unavailable: They are not on the volume.
        """
        kept = records.read(self.run_id, records.Asked)
        if kept is None:
            what = f"what run {self.run_id} was asked for is not on the volume"
            raise Unavailable(what, "its step check has kept it there", "start another run")
        return Parameters.among(kept.values)

    def say(self, text: str) -> None:
        """Report the step's end in one line."""
        progress.to_stdout(progress.Progress(self.stage, 1, 1, text))


@contextmanager
def begin(stage: str, run_id: str) -> Iterator[Step]:
    """Run a step's body: time it, keep its record, and end the process with one clear message if it fails.

    Args:
        stage: The step's name.
        run_id: KFP's id of the run; HYPERFLOW_RUN_ID wins over it.

    Raises:
        SystemExit: The body raised an error of ours, which has been printed.
    """
    signal.signal(signal.SIGTERM, _cancel)
    started = time.time()
    try:
        current = Step(stage, os.environ.get(RUN_ID) or run_id)
        check_run_id(current.run_id)
        with endings.after(current.run_id, _warn):
            with traced(stage, current.run_id), translation.refusals():
                yield current
            if current.record:
                seconds = round(time.time() - started, 3)
                records.write(current.run_id, replace(current.record, started=started, seconds=seconds))
    except (HyperflowError, KeyboardInterrupt) as error:
        if os.environ.get(DEBUG):
            raise
        shown = error if isinstance(error, HyperflowError) else Cancelled(f"{stage} was stopped")
        print(f"error: {shown.told}", file=sys.stderr, flush=True)
        raise SystemExit(shown.exit_code) from error


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


def say_reaped(names: list[str]) -> None:
    """Say what was deleted of runs that have ended."""
    for name in names:
        print(f"deleted {name}, left by a run that has ended", flush=True)


def _cancel(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: a second one would break off the tidying
    raise Cancelled("the step was told to stop", f"it got {signal.Signals(number).name}", "run it again to go on")
