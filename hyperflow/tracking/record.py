"""Write a run down on an MLflow server, so that doing it again changes nothing but what is new.

The run is found by its tag, each trial by its own; what is there already is not logged again. Two that write one run at
once may each make it: both then look, keep the earliest and delete the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from hyperflow.engines import search
from hyperflow.errors import Conflict, Unavailable
from hyperflow.specs import check_run_id
from hyperflow.tracking import entries
from hyperflow.tracking.client import Metric, Run, Server
from hyperflow.tracking.entries import LOGGED, OF, RUN, TRIAL, Entry
from hyperflow.volume import paths

PARENT = "MLFLOW_RUN_ID"
"""Environment variable with an MLflow run that is to be the parent, as Kubeflow Pipelines may set it."""

_PARENT_TAG = "mlflow.parentRunId"


def sync(run_id: str, server: Server, killed: bool = False) -> str:
    """Write down what the volume has of a run, and return its id on the server.

    Args:
        run_id: The run.
        server: Where to.
        killed: Whether the run is known to have been stopped.

    Raises:
        InvalidParameter: The run's id cannot be one.
        Unavailable: The volume has no such run, or the server did not do.
        Conflict: MLFLOW_RUN_ID names a run that holds another one.
    """
    check_run_id(run_id)
    name, entry, trials = entries.of_run(run_id, killed)
    with _understood(server):
        parent = _parent(server, name, entry)
        _write(server, parent, entry, ends=PARENT not in os.environ)
        _write_trials(server, parent, run_id, trials)
        for file, path in entry.artifacts.items():
            server.put(parent, file, path.read_bytes())
    return parent.id


@contextmanager
def _understood(server: Server) -> Iterator[None]:
    """Turn an answer of another form than MLflow's into an error of ours."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what, remedy = f"{server.uri} does not answer as an MLflow server does", "see whether the address is its API's"
        raise Unavailable(what, f"{type(error).__name__}: {error}", remedy) from error


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
    for name, run in _ensured(server, parent.experiment, OF, run_id, TRIAL, nested).items():
        _write(server, run, nested[name])
    _delete_cut_off(server, parent, run_id, trials)


def _delete_cut_off(server: Server, parent: Run, run_id: str, trials: Mapping[str, Entry]) -> None:
    """Delete what an earlier sync wrote of trials that a kill cut off, and that ran again under other names."""
    others = [run for run in server.search(parent.experiment, OF, run_id) if run.tags.get(TRIAL) not in trials]
    gone = search.cut_off(paths.tuning(run_id)) if others else frozenset()
    for run in others:
        if run.tags.get(TRIAL) in gone:
            server.delete(run.id)


def _ensured(
    server: Server, experiment: str, tag: str, value: str, key: str, wanted: Mapping[str, Entry]
) -> dict[str, Run]:  # fmt: skip
    """Return a run for each entry, which is made if need be, and is the only one.

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
    for name in missing:
        server.create(experiment, wanted[name].name, wanted[name].start, wanted[name].tags)
    if missing:  # who else has made one meanwhile is seen now
        there = _by(key, server.search(experiment, tag, value))
    for other in (run for name in wanted for run in there[name][1:]):
        server.delete(other.id)
    return {name: there[name][0] for name in wanted}


def _by(key: str, runs: Sequence[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.tags.get(key, ""), []).append(run)
    return found


def _write(server: Server, run: Run, entry: Entry, ends: bool = True) -> None:
    """Log what a run lacks, and set its state, unless that is another's to set."""
    if run.tags.get(LOGGED) != entry.digest:
        parameters = {name: text for name, text in entry.parameters.items() if name not in run.parameters}
        server.log(run.id, _new(server, run, entry), parameters, {**entry.tags, LOGGED: entry.digest})
    if ends and (run.status, run.end) != (entry.status, entry.end):
        server.update(run.id, entry.status, entry.end)


def _new(server: Server, run: Run, entry: Entry) -> list[Metric]:
    """Select the values that the server has not; one that has another there is logged as a later one.

    The others' time is the run's start, so that the same value, logged by two at once, is one to the server.
    """
    known = {name: server.history(run.id, name) for name in {p.key for p in entry.points} & set(run.metrics)}
    made, now = [], int(time.time() * 1000)
    for point in entry.points:
        there = known.get(point.key, {})
        if point.step not in there:
            made.append(Metric(point.key, point.value, run.start, point.step))
        elif there[point.step] != point.value:
            made.append(Metric(point.key, point.value, now, point.step))
    return made
