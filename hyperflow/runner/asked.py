"""What a run was asked for: kept before its first step, and taken up by whoever goes on with it."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hyperflow import volume
from hyperflow.errors import InvalidParameter
from hyperflow.runner.values import declared, whole
from hyperflow.volume import records
from hyperflow.volume.records import Asked


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
    values: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = ""
    keep_serving: bool = False
    port: int = 0

    @property
    def command(self) -> str:
        """The whole command that goes on with this run, to be typed in a shell."""
        words = ["hyperflow", "run", "--run-id", self.run_id, "--folder", str(volume.root())]
        words += ["--keep-serving"] if self.keep_serving else []
        return shlex.join([*words, *(["--port", str(self.port)] if self.port else [])])


def pipeline_of(run_id: str) -> Path | None:
    """Return the compiled pipeline that a run was started with, or None where there is no such run."""
    kept = records.read(run_id, Asked)
    return Path(kept.pipeline) if kept and kept.pipeline else None


def take_up(request: Request) -> Request:
    """Give a request for a run that was started before the parameters it was started with.

    Raises:
        InvalidParameter: The request gives other ones.
    """
    kept = records.read(request.run_id, Asked)
    if kept is None:
        return request
    if request.pipeline.absolute() != Path(kept.pipeline):
        raise _other(request, "--pipeline", request.pipeline.name, Path(kept.pipeline).name)
    for name, value in request.values.items():
        if name not in kept.values or _plain(value) != kept.values[name]:
            raise _other(request, name, value, kept.values.get(name))
    known = declared(request.pipeline)
    return replace(request, values={name: value for name, value in kept.values.items() if name in known})


def keep(request: Request) -> None:
    """Write down what a run is asked for, unless an earlier attempt has.

    Raises:
        Unavailable: The volume cannot be written.
    """
    if records.read(request.run_id, Asked) is None:
        defaults = {name: entry.get("defaultValue") for name, entry in declared(request.pipeline).items()}
        values = {**whole(request.pipeline, defaults), **request.values}
        asked = Asked(pipeline=str(request.pipeline.absolute()), values=values, started=time.time())
        records.write(request.run_id, asked)


def _plain(value: Any) -> Any:
    """Return a value as it is read again from where it was kept."""
    return json.loads(json.dumps(value))


def _other(request: Request, name: str, value: object, kept: object) -> InvalidParameter:
    return InvalidParameter(name, value, f"{kept!r}, which run {request.run_id} was started with, or another run id")
