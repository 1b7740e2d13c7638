"""Run a compiled pipeline on this machine: the YAML from build/, kfp.local's subprocess runner, our local engine."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import re
import secrets
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import psutil
import yaml

from hyperflow import summary, volume
from hyperflow.engines.local import processes
from hyperflow.engines.local.services import KEEP, Services
from hyperflow.errors import Cancelled, HyperflowError, InvalidParameter, JobFailed, Unavailable
from hyperflow.parameters import PORT, Parameters
from hyperflow.progress import Progress
from hyperflow.specs import check_run_id
from hyperflow.steps import RUN_ID

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_STARTED = re.compile(r"Executing task '([a-z-]+?)(?:-\d+)?'")  # a step that stands twice in a pipeline has a number
_FAILED = re.compile(r"\s*error: ")
_TRIES = 5


@dataclass(frozen=True)
class Listener:
    """Who is told how a run goes.

    Args:
        stage: Called with each stage's name when it starts.
        progress: Called with each step forward.
    """

    stage: Callable[[str], None]
    progress: Callable[[Progress], None]


@dataclass(frozen=True)
class Request:
    """A run on this machine.

    Args:
        pipeline: The compiled pipeline.
        values: Parameters that differ from the defaults, as `read_values` reads them.
        run_id: The run's id; one that was used goes on where that run stopped.
        keep_serving: Whether the service outlives the run.
        port: Port to serve on; 0 for any free one.
    """

    pipeline: Path
    values: Mapping[str, Any]
    run_id: str
    keep_serving: bool = False
    port: int = 0


def new_run_id() -> str:
    """Make an id that sorts by time and that no other run has."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def read_values(pipeline: Path, assignments: Iterator[str] | list[str]) -> dict[str, Any]:
    """Read `name=value` texts by the types that the compiled pipeline declares.

    Raises:
        InvalidParameter: There is no such parameter, or the text does not read as its type.
    """
    types = declared(pipeline)
    values = {}
    for assignment in assignments:
        name, found, text = assignment.partition("=")
        if not found:
            raise InvalidParameter("--set", assignment, "name=value")
        if name not in types:
            raise InvalidParameter("--set", name, _instead(name, list(types)))
        values[name] = _typed(name, text, types[name]["parameterType"])
    return values


def declared(pipeline: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters that a compiled pipeline declares: type, default and description by name.

    Raises:
        Unavailable: There is no such pipeline.
    """
    try:
        with pipeline.open(encoding="utf-8") as file:
            specification = next(yaml.load_all(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except OSError as error:
        raise Unavailable(f"there is no pipeline at {pipeline}", str(error), "run `python compile.py`") from error
    parameters: dict[str, dict[str, Any]] = specification["root"]["inputDefinitions"]["parameters"]
    return parameters


def whole(pipeline: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Make the whole numbers whole again that KFP writes as floats."""
    types = declared(pipeline)
    integers = {name for name in values if types[name]["parameterType"] == "NUMBER_INTEGER"}
    return {name: int(value) if name in integers else value for name, value in values.items()}


def run(request: Request, listener: Listener) -> dict[str, Any]:
    """Run the pipeline to its end and return its summary.

    Raises:
        HyperflowError: A parameter, this machine or a step did not do; the message is that step's.
    """
    check_run_id(request.run_id)
    known = {item.name for item in fields(Parameters)}
    Parameters(**{name: value for name, value in request.values.items() if name in known})
    folder = volume.run_path(request.run_id)
    started = time.time()
    with _exclusive(folder), _environment(request), _signals():
        try:
            with processes.launcher():
                try:
                    _execute(request, folder, listener)
                    return summary.write(folder, started)
                finally:
                    _stop_services(request.run_id)
        finally:
            _end_children()


def _execute(request: Request, folder: Path, listener: Listener) -> None:
    """Have kfp.local run the steps, with what they print going to the log and the listener."""
    from kfp import components, local

    logging_to = _Output(folder / "log.txt", listener)
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
            raise _Reported(logging_to.failure or str(error)) from error


class _Reported(JobFailed):
    """A step failed and has said so itself, in the very words to show."""

    def __str__(self) -> str:
        return self.what


class _Output(io.TextIOBase):
    """What kfp.local prints: kept in the log, and sorted for the listener."""

    def __init__(self, log: Path, listener: Listener) -> None:
        with volume.writable(log.parent):
            self._log = log.open("a", encoding="utf-8")
        self._listener = listener
        self._rest = ""
        self._failure: list[str] = []

    @property
    def failure(self) -> str:
        """The error that a step printed last."""
        return "\n".join(self._failure)

    def write(self, text: str) -> int:
        """Take some text; act on each line once it is whole."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(_ANSI.sub("", line).removeprefix("    "))
        return len(text)

    def close(self) -> None:
        """Close the log."""
        self._log.close()
        super().close()

    def _take(self, line: str) -> None:
        with volume.writable(Path(self._log.name).parent):
            self._log.write(line + "\n")
            self._log.flush()
        started = _STARTED.search(line)
        progress = Progress.parse(line)
        if started:
            self._listener.stage(started[1].replace("-", "_"))
        elif progress:
            self._listener.progress(progress)
        elif _FAILED.match(line):
            self._failure = [line.strip().removeprefix("error: ")]
        elif self._failure and line.startswith("  "):
            self._failure.append(line)


def _dags(specification: Any) -> Iterator[Any]:
    yield specification.root.dag
    for component in specification.components.values():
        if component.HasField("dag"):
            yield component.dag


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the run's folder, so that two commands never work on one run at a time."""
    with volume.writable(folder):
        (folder / "steps").mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    with lock:
        _take(lock, folder.name)
        for stale in (folder / "steps").glob("*.json"):
            stale.unlink()
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
        PORT: str(request.port), KEEP: "1" if request.keep_serving else "", "PYTHONUNBUFFERED": "1",
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
def _signals() -> Iterator[None]:
    """Make SIGTERM end the run as Ctrl-C does: the step is told, and everything else follows."""

    def stop(number: int, frame: FrameType | None) -> None:
        _end_children()
        raise Cancelled(
            "the run was stopped", f"it got {signal.Signals(number).name}", "give --run-id with its id to go on"
        )

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


def _stop_services(run_id: str) -> None:
    services = Services(volume.root() / "services")
    for name in services.names():
        services.stop(name, run_id)


def _typed(name: str, text: str, kind: str) -> Any:
    """Read a value's text by its KFP type."""
    if kind == "STRING":
        return text
    try:
        value: Any = json.loads(text.lower() if kind == "BOOLEAN" else text)
    except ValueError:
        value = None
    wanted: dict[str, tuple[type, ...]] = {
        "NUMBER_INTEGER": (int,), "NUMBER_DOUBLE": (int, float), "BOOLEAN": (bool,), "LIST": (list,), "STRUCT": (dict,),
    }  # fmt: skip
    words = {
        "NUMBER_INTEGER": "a whole number", "NUMBER_DOUBLE": "a number", "BOOLEAN": "true or false",
        "LIST": "a JSON list", "STRUCT": "a JSON object",
    }  # fmt: skip
    if not isinstance(value, wanted[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise InvalidParameter(name, text, words[kind])
    return float(value) if kind == "NUMBER_DOUBLE" else value  # type: ignore[arg-type]


def _instead(name: str, names: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, names, 3)
    return f"a parameter of the pipeline: {' or '.join(close) if close else ', '.join(sorted(names))}"


__all__ = ["HyperflowError", "Listener", "Request", "declared", "new_run_id", "read_values", "run"]
