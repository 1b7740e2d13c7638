"""Write a run down on an MLflow server, so that doing it again changes nothing but what is new.

The run is found by its tag, each trial by its own; what is there already is not logged again. Two that write one run at
once may each make it: both then look, keep the earliest and delete the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hyperflow.engines import search
from hyperflow.errors import Conflict, Unavailable
from hyperflow.specs import check_run_id
from hyperflow.tracking import entries
from hyperflow.tracking.client import Metric, Run, Server
from hyperflow.tracking.entries import FILES, LOGGED, OF, RUN, TRIAL, VALUES, Entry, as_tag
from hyperflow.volume import paths

PARENT = "MLFLOW_RUN_ID"
"""Environment variable with an MLflow run that is to be the parent, as Kubeflow Pipelines may set it."""

_PARENT_TAG = "mlflow.parentRunId"
_AT_ONCE = 8  # requests

_T = TypeVar("_T")


def sync(run_id: str, server: Server, state: str = "") -> str:
    """Write down what the volume has of a run, and return its id on the server.

    Args:
        run_id: The run.
        server: Where to.
        state: FAILED or KILLED, where that is known of a run that is not complete.

    Raises:
        InvalidParameter: The run's id cannot be one.
        Unavailable: The volume has no such run, or the server did not do.
        Conflict: MLFLOW_RUN_ID names a run that holds another one.
    """
    check_run_id(run_id)
    name, entry, trials = entries.of_run(run_id, state)
    with server.understood():
        parent = _parent(server, name, entry)
        there, refused = _put(server, parent, entry.artifacts)
        _write(server, parent, replace(entry, tags={**entry.tags, FILES: as_tag(there)}), PARENT not in os.environ)
        _write_trials(server, parent, run_id, trials)
    if refused:
        raise refused
    return parent.id


def _parent(server: Server, experiment: str, entry: Entry) -> Run:
    """Return the MLflow run that the environment names, unless it is another run's, else the run's own."""
    run_id, given = entry.tags[RUN], os.environ.get(PARENT)
    if given is None:
        return _ensured(server, server.experiment(experiment), RUN, run_id, RUN, {run_id: entry})[run_id]
    parent = server.run(given)
    other = parent.tags.get(RUN, run_id)
    if other != run_id:
        what = f"the MLflow run {given} cannot hold run {run_id}"
        raise Conflict(what, f"it holds run {other}", f"unset {PARENT}, or set another one")
    return parent


def _write_trials(server: Server, parent: Run, run_id: str, trials: Mapping[str, Entry]) -> None:
    """Write the trials, also those that a parent left which is deleted: they are this one's from now on."""
    nested = {name: replace(each, tags={**each.tags, _PARENT_TAG: parent.id}) for name, each in trials.items()}
    there = _ensured(server, parent.experiment, OF, run_id, TRIAL, nested)
    _each(nested, lambda name: _write(server, there[name], nested[name]))
    others = there.keys() - nested.keys()
    # a kill cut them off, and they ran again under other names
    for name in others & search.cut_off(paths.tuning(run_id)) if others else ():
        server.delete(there[name].id)


def _put(server: Server, run: Run, files: Mapping[str, Path]) -> tuple[dict[str, str], Unavailable | None]:
    """Put the files that the server has not, or has otherwise.

    Returns:
        A digest of each file that is there now, and why another one is not: all else can be written without.
    """
    there = _digests(run, FILES)

    def put(name: str) -> None:
        content = files[name].read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        if there.get(name) != digest:
            server.put(run, name, content)
            there[name] = digest

    try:
        _each(files, put)
    except Unavailable as error:
        return there, error
    return there, None


def _ensured(
    server: Server, experiment: str, tag: str, value: str, key: str, wanted: Mapping[str, Entry]
) -> dict[str, Run]:  # fmt: skip
    """Return a run for each entry, which is made if need be, and is the only one; and for what else is there.

    Args:
        server: The server.
        experiment: The id of their experiment.
        tag: A tag that all of them have.
        value: Its value.
        key: The tag that tells them apart.
        wanted: The entries by that tag's value.
    """
    there = _by(key, server.search(experiment, tag, value)) if wanted else {}
    missing = [name for name in wanted if name not in there]
    _each(missing, lambda name: server.create(experiment, wanted[name].name, wanted[name].start, wanted[name].tags))
    if missing:  # who else has made one meanwhile is seen now
        there = _by(key, server.search(experiment, tag, value))
    for other in (run for name, runs in there.items() if name for run in runs[1:]):
        server.delete(other.id)
    return {name: runs[0] for name, runs in there.items()}


def _each(items: Iterable[_T], do: Callable[[_T], None]) -> None:
    """Do it for all, several at once; the first failure is raised, and nothing more begun."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(do, items):
            pass


def _by(key: str, runs: Sequence[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.tags.get(key, ""), []).append(run)
    return found


def _write(server: Server, run: Run, entry: Entry, ends: bool = True) -> None:
    """Log what a run lacks, and set its state, unless that is another's to set."""
    if run.tags.get(LOGGED) != entry.digest:
        parameters = {name: text for name, text in entry.parameters.items() if name not in run.parameters}
        tags = {name: text for name, text in _tags(entry).items() if run.tags.get(name) != text}
        server.log(run.id, _new(server, run, entry), parameters, tags)
    if ends and (run.status, run.end) != (entry.status, entry.end):
        server.update(run.id, entry.status, entry.end)


def _new(server: Server, run: Run, entry: Entry) -> list[Metric]:
    """Select the values that the server has not; one that has another there is logged as a later one.

    The others' time is the run's start, so that the same value, logged by two at once, is one to the server.
    """
    logged, values = _digests(run, VALUES), entry.values
    new = [point for point in entry.points if logged.get(point.key) != values[point.key]]
    known = {name: server.history(run.id, name) for name in {point.key for point in new} & set(run.metrics)}
    made, now = [], int(time.time() * 1000)
    for point in new:
        there = known.get(point.key, {})
        if point.step not in there:
            made.append(Metric(point.key, point.value, run.start, point.step))
        elif there[point.step] != point.value:
            made.append(Metric(point.key, point.value, now, point.step))
    return made


def _tags(entry: Entry) -> dict[str, str]:
    return {**entry.tags, LOGGED: entry.digest, VALUES: as_tag(entry.values)}


def _digests(run: Run, tag: str) -> dict[str, str]:
    """Return what a tag says was logged; nothing where there is none, or somebody has changed it."""
    try:
        found = json.loads(run.tags.get(tag, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
