"""What a run's folder says, in MLflow's words: one entry for the run, and one for each of its trials.

Nothing here asks a server, so an entry can be looked at and compared.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hyperflow
from hyperflow import metrics, volume
from hyperflow.engines import search
from hyperflow.errors import Unavailable
from hyperflow.report import live
from hyperflow.specs import DataRef, Trial, fingerprint, format_value
from hyperflow.volume import cards, paths, records, runs
from hyperflow.volume.records import Asked, Records, Tune

RUN, TRIAL, OF, LOGGED = "hyperflow.run_id", "hyperflow.trial", "hyperflow.trial_of", "hyperflow.logged"
"""Tags by which a run, and a trial of a run, are found again, and what was logged is known."""

VALUES, FILES = "hyperflow.logged_values", "hyperflow.logged_files"
"""Tags with the digest of each metric's values that were logged, and of each file."""

_STATES = {"succeeded": "FINISHED", "failed": "FAILED", "metrics-unavailable": "FAILED", "running": "RUNNING"}
_LONGEST = 24 * 3600.0  # without a sign of life, on a cluster, until a run counts as failed
_KEY = re.compile(r"[^\w\-. /]", re.ASCII)
_MOST_KEY, _MOST_PARAMETER, _MOST_TAG = 250, 6000, 5000  # characters that MLflow takes


@dataclass(frozen=True)
class Point:
    """One value of a metric, at a step."""

    key: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class Entry:
    """What stands in one MLflow run.

    Args:
        name: The name shown.
        status: RUNNING, FINISHED, FAILED or KILLED.
        start: When it started, in milliseconds since 1970.
        end: When it ended, likewise; 0 where it has not.
        points: Its metrics.
        parameters: Its parameters.
        tags: Its tags.
        artifacts: Files by their names there.
    """

    name: str
    status: str
    start: int
    end: int
    points: tuple[Point, ...]
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    artifacts: Mapping[str, Path] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A text that is another one as soon as something else is to be logged."""
        return fingerprint([[[p.key, p.value, p.step] for p in self.points], dict(self.parameters), dict(self.tags)])

    @property
    def values(self) -> dict[str, str]:
        """A digest of each metric's values by its name."""
        found: dict[str, list[tuple[int, float]]] = {}
        for point in self.points:
            found.setdefault(point.key, []).append((point.step, point.value))
        return {key: short(values) for key, values in found.items()}


def of_run(run_id: str, state: str = "") -> tuple[str, Entry, dict[str, Entry]]:
    """Return a run's experiment, its entry, and its trials' entries by the trials' names.

    Args:
        run_id: The run.
        state: FAILED or KILLED, where that is known of a run that is not complete.

    Raises:
        Unavailable: The volume has no such run.
    """
    kept, asked = records.read_all(run_id), records.read(run_id, Asked)
    model_name = kept.check.model_name if kept.check else asked.values.get("model_name", "") if asked else ""
    if not model_name:
        why = f"{paths.step_records(run_id)} has no record of what it was asked for"
        raise Unavailable(f"nothing is known of run {run_id}", why, "`hyperflow runs` lists those there are")
    began = asked.started if asked else min(record.started for record in kept.kept)
    ended = max((record.started + record.seconds for record in kept.kept), default=began)
    status = _status(run_id, state)
    found = kept.tune or live.search_so_far(run_id)
    entry = Entry(
        run_id, status, _milliseconds(began), 0 if status == "RUNNING" else _milliseconds(ended),
        tuple(_points(kept)), _parameters(asked, kept), _tags(run_id, asked, kept, found), dict(_files(run_id, kept)),
    )  # fmt: skip
    since = kept.tune.started if kept.tune else began
    return str(model_name), entry, {t.name: _trial(run_id, t, since, status) for t in (found.trials if found else ())}


def short(value: object) -> str:
    """Digest something, so shortly that a tag holds many."""
    return fingerprint(value)[:12]


def as_tag(digests: Mapping[str, str]) -> str:
    """Write digests as a tag's text; none where they are more than it takes, and then all is compared or sent anew."""
    text = json.dumps(digests, sort_keys=True, separators=(",", ":"))
    return text if len(text) <= _MOST_TAG else "{}"


def signature(data: DataRef) -> str:
    """Return the signature of a model of a data set's images, as MLflow writes it: docs/own-trainer.md's contract."""
    pixels = {"name": "flatten_input", "type": "tensor", "tensor-spec": _tensor(math.prod(data.shape))}
    answers = {"type": "tensor", "tensor-spec": _tensor(len(data.classes))}
    return json.dumps({"inputs": json.dumps([pixels]), "outputs": json.dumps([answers])})


def _tensor(size: int) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [-1, size]}


def _status(run_id: str, state: str) -> str:
    if runs.is_complete(run_id):
        return "FINISHED"
    if state:
        return state
    return "RUNNING" if runs.may_run(run_id, _LONGEST) else "FAILED"


def _points(kept: Records) -> Iterator[Point]:
    if kept.train:
        yield from _curve(kept.train.curve, kept.train.metrics)
        yield Point("test_accuracy", kept.train.model.accuracy)
    if kept.predict:
        for name in ("accuracy", "instances", "p50_ms", "p99_ms", "first_ms"):
            yield Point(f"smoke/{name}", float(getattr(kept.predict, name)))
    for record in kept.kept:
        yield Point(f"seconds/{record.stage}", record.seconds)


def _curve(curve: Mapping[str, Sequence[float]], last: Mapping[str, float]) -> Iterator[Point]:
    """Number each metric's values so that its last one stands at the last epoch."""
    longest = max(map(len, curve.values()), default=0)
    for name, values in curve.items():
        for step, value in enumerate(values, longest - len(values) + 1):
            yield Point(_key(name), value, step)
    for name in last.keys() - curve.keys():
        yield Point(_key(name), last[name], longest)


def _parameters(asked: Asked | None, kept: Records) -> dict[str, str]:
    """Return what the run was asked for, and the hyper-parameters that its model was trained with."""
    best = kept.train.model.parameters if kept.train else kept.tune.best.parameters if kept.tune else {}
    given = {name: _text(value) for name, value in asked.values.items()} if asked else {}
    return _fitting({**given, **{f"best/{name}": format_value(value) for name, value in best.items()}})


def _tags(run_id: str, asked: Asked | None, kept: Records, found: Tune | None) -> dict[str, str]:
    made = {RUN: run_id, "hyperflow.version": hyperflow.__version__, "hyperflow.folder": str(volume.run_path(run_id))}
    if asked and asked.pipeline:
        made["mlflow.source.name"] = Path(asked.pipeline).name
    if kept.load_data:
        data = kept.load_data.dataset
        made |= {"hyperflow.dataset": data.name, "hyperflow.data_digest": data.digest}
    if kept.plan and kept.plan.action == "skip":
        made |= {"hyperflow.decision": "skipped", "hyperflow.reason": kept.plan.reason}
    if found:
        made |= {"hyperflow.objective": found.metric, "hyperflow.direction": found.direction}
    if kept.tune:
        made["hyperflow.best_trial"] = kept.tune.best.name
    if kept.train:
        made["hyperflow.model_path"] = kept.train.model.path
        made |= {"hyperflow.model_signature": signature(kept.load_data.dataset)} if kept.load_data else {}
    if kept.decide:
        outcome = "deployed" if kept.decide.deploy else "refused"
        made |= {"hyperflow.decision": outcome, "hyperflow.reason": kept.decide.reason}
        made |= {"hyperflow.approval": str(kept.decide.approval)} if kept.decide.approval else {}
    return {name: text[:_MOST_TAG] for name, text in made.items()}


def _files(run_id: str, kept: Records) -> Iterator[tuple[str, Path]]:
    """List what is kept as it is: report, card, records."""
    card = [("card.json", Path(kept.train.model.path) / cards.CARD)] if kept.train else []
    places = [("report.html", paths.run_report(run_id)), ("summary.json", paths.run_summary(run_id)), *card]
    places += [(f"steps/{path.name}", path) for path in sorted(paths.step_records(run_id).glob("*.json"))]
    yield from ((name, path) for name, path in places if path.is_file())


def _trial(run_id: str, trial: Trial, since: float, run_status: str) -> Entry:
    """Return a trial's entry; its metrics are its log's, where the volume has that, else the last ones known."""
    status = _STATES.get(trial.status, "KILLED")
    if status == "RUNNING" != run_status:
        status = "KILLED"
    points = list(_curve(metrics.curve(_log(run_id, trial)), trial.metrics))
    if trial.value is not None:
        points.append(Point("objective", trial.value))
    known = {"seconds": trial.seconds, "cores": trial.cores, "memory": trial.memory}
    points += [Point(f"trial/{name}", float(value)) for name, value in known.items() if value]
    end = 0 if status == "RUNNING" else _milliseconds(since + trial.seconds)
    texts = _fitting({name: format_value(value) for name, value in trial.parameters.items()})
    tags = {TRIAL: trial.name, OF: run_id, "hyperflow.status": trial.status}
    return Entry(trial.name, status, _milliseconds(since), end, tuple(points), texts, tags)


def _log(run_id: str, trial: Trial) -> list[str]:
    number = trial.name.rpartition("-")[2]
    if not number.isdecimal():
        return []
    try:
        log = search.log_of(paths.tuning(run_id), int(number))
        return log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _fitting(values: Mapping[str, str]) -> dict[str, str]:
    """Leave out what is empty, and shorten what is longer than MLflow takes."""
    return {_key(name): text[:_MOST_PARAMETER] for name, text in values.items() if text}


def _key(name: str) -> str:
    return _KEY.sub("_", name)[:_MOST_KEY]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
