"""Run a compiled pipeline on this machine: the YAML from build/, kfp.local's subprocess runner, our local engine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import psutil

from hyperflow import translation, volume
from hyperflow.engines.local import KEEP, OURS, SAFE_PATH, LocalEngine
from hyperflow.errors import Cancelled, JobFailed, Unavailable
from hyperflow.parameters import Parameters
from hyperflow.report import run as report
from hyperflow.runner import asked
from hyperflow.runner.asked import Request
from hyperflow.runner.output import Listener, Output
from hyperflow.specs import check_run_id
from hyperflow.steps import RUN_ID, check
from hyperflow.volume import paths, records
from hyperflow.volume.summary import Summary

_TRIES = 5


def new_run_id() -> str:
    """Make an id that sorts by time and that no other run has."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def run(request: Request, listener: Listener) -> Summary:
    """Run the pipeline to its end and return its summary.

    Raises:
        HyperflowError: A parameter, this machine or a step did not do; the message is that step's.
    """
    check_run_id(request.run_id)
    request = asked.take_up(request)
    with _environment(request), translation.refusals():
        check.judge(Parameters.complete(request.values), request.run_id)  # as its first step will, seconds later
    folder = volume.run_path(request.run_id)
    started = time.time()
    with _exclusive(folder), _environment(request), _signals(request):
        asked.keep(request)
        try:
            engine = LocalEngine()
            with engine.launcher():
                try:
                    _execute(request, folder, listener)
                    return report.write(request.run_id, started)
                finally:
                    engine.stop(run_id=request.run_id)
        finally:
            _end_children()


def _execute(request: Request, folder: Path, listener: Listener) -> None:
    """Have kfp.local run the steps, with what they print going to the log and the listener."""
    from kfp import components, local

    logging_to = Output(paths.run_log(request.run_id), listener)
    with warnings.catch_warnings(), logging_to, contextlib.redirect_stdout(logging_to):
        warnings.simplefilter("ignore")  # that images and limits have no effect here
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(folder / "kfp"),
            workspace_root=str(folder / "tmp"),
        )
        pipeline = components.load_component_from_file(str(request.pipeline))
        for dag in _dags(pipeline.component_spec.implementation.graph):
            for task in dag.tasks.values():
                task.ClearField("retry_policy")  # here a retry is the user's: the same command with the same run id
        try:
            with _python_by_name():
                pipeline(**request.values)
        except RuntimeError as error:
            if isinstance(error, RecursionError):
                raise
            raise _why(logging_to, request) from error


def _why(output: Output, request: Request) -> JobFailed:
    """Word why kfp.local has given up: as the step has said it, or by what it printed last."""
    if output.failure:
        return _Reported(output.failure)
    last, log = "\n".join(output.last) or "nothing", paths.run_log(request.run_id)
    return JobFailed(
        f"the step {output.stage} ended without saying why" if output.stage else "the pipeline could not be started",
        f"it was killed, or is at fault itself; the last lines printed are\n{last}",
        f"see {log}; to go on: {request.command}",
    )


class _Reported(JobFailed):
    """A step failed and has said so itself, in the very words to show."""

    def __str__(self) -> str:
        return self.what

    @property
    def address(self) -> str:
        """Nothing: the words have it."""
        return ""


def _dags(specification: Any) -> Iterator[Any]:
    yield specification.root.dag
    for component in specification.components.values():
        if component.HasField("dag"):
            yield component.dag


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the run's folder, so that two commands never work on one run at a time."""
    with volume.writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = paths.run_lock(folder.name).open("w")
    with lock:
        _take(lock, folder.name)
        records.clear(folder.name)
        yield


def _take(lock: TextIO, run_id: str) -> None:
    """Lock, trying again for a moment: who only looks whether a run is at work holds its lock that long."""
    for remaining in range(_TRIES, 0, -1):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if remaining == 1:
                remedy = "wait for it, or choose another run id"
                raise Unavailable(f"run {run_id} is being run by another process", remedy=remedy) from error
            time.sleep(0.05)


@contextmanager
def _python_by_name() -> Iterator[None]:
    """Have the steps' interpreter found by its name, on the PATH of the run's environment.

    kfp.local puts `sys.executable` wherever `python3` stands in a step's command line, and the user's parameters stand
    there too: /usr/bin/python3 in a trainer_command would become a path that does not exist.
    """
    before, sys.executable = sys.executable, "python3"
    try:
        yield
    finally:
        sys.executable = before


@contextmanager
def _environment(request: Request) -> Iterator[None]:
    """Tell the steps, by environment, what a cluster would tell them by mounts and placeholders."""
    here = {
        "HYPERFLOW_ENGINE": "local", volume.ENVIRONMENT: str(volume.root()), RUN_ID: request.run_id,
        translation.PORT: str(request.port), KEEP: "1" if request.keep_serving else "", "PYTHONUNBUFFERED": "1",
        SAFE_PATH: os.environ.get(SAFE_PATH) or OURS,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }  # fmt: skip
    before = dict(os.environ)
    os.environ.update(here)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _signals(request: Request) -> Iterator[None]:
    """Make SIGTERM end the run as Ctrl-C does: the step is told, and everything else follows."""

    def stop(number: int, frame: FrameType | None) -> None:
        _end_children()
        raise Cancelled("the run was stopped", f"it got {signal.Signals(number).name}", f"to go on: {request.command}")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_children() -> None:
    """End the step that is running, which ends what it started."""
    steps = [child for child in psutil.Process().children() if "warm" not in " ".join(_command(child))]
    for child in steps:
        for process in (*_descendants(child), child):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
    psutil.wait_procs(steps, timeout=15)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
