"""What came of each step of a run: one frozen class a step, written when it has ended well.

    runs/<run id>/steps/<stage>.json
    runs/<run id>/steps/asked.json          on this machine: what the run was asked for

The report and the summary of a run, and what a later step or a retried one has to know of an earlier
one, are read from these records alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import TypeAdapter

from hyperflow.specs import Answer, Comparison, DataRef, Drift, Endpoint, InputDrift, ModelRef, Rule, Trial, Value
from hyperflow.volume import paths
from hyperflow.volume.evaluation import Evaluation
from hyperflow.volume.files import write_text


@dataclass(frozen=True, kw_only=True)
class Record:
    """What all steps keep.

    Args:
        started: When it started, in seconds since 1970.
        seconds: How long it took.
    """

    stage: ClassVar[str]

    started: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Asked(Record):
    """What a run was asked for; kept before anything is made, and as long as the run is.

    Args:
        values: Every parameter of its pipeline.
        pipeline: The compiled pipeline, where the run is one of this machine.
    """

    stage: ClassVar[str] = "asked"

    values: Mapping[str, Any]
    pipeline: str = ""


@dataclass(frozen=True, kw_only=True)
class Check(Record):
    """The parameters and the surroundings were judged: for which model."""

    stage: ClassVar[str] = "check"

    model_name: str


@dataclass(frozen=True, kw_only=True)
class LoadData(Record):
    """The data set lies on the volume."""

    stage: ClassVar[str] = "load_data"

    dataset: DataRef


@dataclass(frozen=True, kw_only=True)
class Plan(Record):
    """What there is to do was decided.

    Args:
        action: What to do.
        reason: One sentence.
        parameters: The hyper-parameters known.
        metrics: The figures that led to it, by name.
        drift: How far the answers have drifted; None where nothing is known.
        classes: Class names of the data set.
        retune_drift: The drift above which to search anew.
        deleted: What was deleted, relative to the volume.
        inputs: How far the pictures of the payload log are from those learnt from; None where nothing is known.
        inputs_note: That in a line, or why nothing is known; empty where no payloads are kept.
        retune_input_drift: The drift of inputs above which to search anew.
    """

    stage: ClassVar[str] = "plan"

    action: Literal["skip", "train", "tune"]
    reason: str
    parameters: Mapping[str, Value]
    metrics: Mapping[str, float]
    drift: Drift | None
    classes: tuple[str, ...]
    retune_drift: float
    deleted: tuple[str, ...] = ()
    inputs: InputDrift | None = None
    inputs_note: str = ""
    retune_input_drift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Tune(Record):
    """A search has found something.

    Args:
        metric: The metric that trials were compared by.
        direction: `maximize` or `minimize`.
        best: The best trial.
        trials: All of them.
        location: Where to look at the search.
    """

    stage: ClassVar[str] = "tune"

    metric: str
    direction: str
    best: Trial
    trials: tuple[Trial, ...]
    location: str = ""


@dataclass(frozen=True, kw_only=True)
class Train(Record):
    """A model was made.

    Args:
        model: The model.
        metrics: Every metric's last value.
        curve: Every metric's values, one an epoch.
        location: Where to look at the training.
        evaluation: What the trainer told of its test.
    """

    stage: ClassVar[str] = "train"

    model: ModelRef
    metrics: Mapping[str, float]
    curve: Mapping[str, Sequence[float]]
    location: str = ""
    evaluation: Evaluation = field(default_factory=Evaluation)


@dataclass(frozen=True, kw_only=True)
class Decide(Record):
    """The model was judged.

    Args:
        deploy: Whether to serve it.
        reason: One sentence.
        forced: Whether it is served against the rule.
        candidate: The model.
        serving: What was served then, or None.
        comparison: Both on the same images, or None.
        rule: What it had to come up to.
        approval: What a person said of it; None where nobody was asked.
    """

    stage: ClassVar[str] = "decide"

    deploy: bool
    reason: str
    forced: bool
    candidate: ModelRef
    serving: ModelRef | None
    comparison: Comparison | None
    rule: Rule
    approval: Answer | None = None


@dataclass(frozen=True, kw_only=True)
class Deploy(Record):
    """The model answers.

    Args:
        endpoint: Where it does until it is promoted.
        uri: Where its folder is, for those who have not got the volume; empty where it was not written down.
    """

    stage: ClassVar[str] = "deploy"

    endpoint: Endpoint
    uri: str = ""


@dataclass(frozen=True, kw_only=True)
class Predict(Record):
    """The deployed model was tested and promoted.

    Args:
        endpoint: Where its users meet it.
        accuracy: Share of images it read right, 0 to 1.
        instances: How many were sent.
        p50_ms: Median latency, in milliseconds.
        p99_ms: 99th percentile of it.
        first_ms: Latency of the first answer, which is none of these; 0 where it is not known.
        classes: Class names of the data set.
    """

    stage: ClassVar[str] = "predict"

    endpoint: Endpoint
    accuracy: float
    instances: int
    p50_ms: float
    p99_ms: float
    first_ms: float = 0.0
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Records:
    """The records of one run; None for a step that has not ended."""

    check: Check | None = None
    load_data: LoadData | None = None
    plan: Plan | None = None
    tune: Tune | None = None
    train: Train | None = None
    decide: Decide | None = None
    deploy: Deploy | None = None
    predict: Predict | None = None

    @property
    def kept(self) -> list[Record]:
        """Those there are, in the order of the stages."""
        return [record for item in fields(self) if (record := getattr(self, item.name)) is not None]


_R = TypeVar("_R", bound=Record)

KINDS: tuple[type[Record], ...] = (Check, LoadData, Plan, Tune, Train, Decide, Deploy, Predict)


def write(run_id: str, record: Record) -> None:
    """Keep what came of a step, in place of what an earlier attempt kept.

    Raises:
        Unavailable: The volume cannot be written.
    """
    content = {"stage": record.stage, **plain(record)}
    write_text(_path(run_id, type(record)), json.dumps(content, indent=2))


def read(run_id: str, kind: type[_R]) -> _R | None:
    """Return what came of a step, or None where it has not ended, or its record cannot be read."""
    try:
        return TypeAdapter(kind).validate_json(_path(run_id, kind).read_bytes())
    except (OSError, ValueError):
        return None


def read_all(run_id: str) -> Records:
    """Return what came of a run's steps."""
    return Records(**{kind.stage: read(run_id, kind) for kind in KINDS})  # type: ignore[arg-type]


def clear(run_id: str) -> None:
    """Forget what came of a run's steps, as they are about to be run again."""
    for kind in KINDS:
        _path(run_id, kind).unlink(missing_ok=True)


def _path(run_id: str, kind: type[Record]) -> Path:
    return paths.step_records(run_id) / f"{kind.stage}.json"


def plain(value: Any) -> Any:
    """Turn what is kept into what JSON has; read-only mappings are none of its."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
