"""What a run that has ended well came to, for programs: `runs/<run id>/summary.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from hyperflow.specs import Answer, Value
from hyperflow.volume import paths
from hyperflow.volume.files import write_text
from hyperflow.volume.records import plain


@dataclass(frozen=True)
class Decision:
    """How it ended.

    Args:
        outcome: A model went live, was refused, or there was none to make.
        deploy: Whether a model went live.
        reason: One sentence.
        approval: What a person said of it; None where nobody was asked.
    """

    outcome: Literal["deployed", "refused", "skipped"]
    deploy: bool
    reason: str
    approval: Answer | None = None


@dataclass(frozen=True)
class Smoke:
    """What the smoke test measured; see `records.Predict`."""

    accuracy: float
    instances: int
    p50_ms: float
    p99_ms: float
    first_ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The figures of a run's steps; those of steps that had nothing to do are None.

    Args:
        run_id: The run.
        decision: How it ended.
        best_parameters: Those that were trained with, or are known.
        validation_accuracy: Of the model, 0 to 1.
        test_accuracy: The same on the test images.
        model_path: Folder of the model's versions.
        endpoint: Where users ask for predictions.
        smoke: What the smoke test measured.
        report: Where the report is.
        seconds: Of each step, by its stage.
        total_seconds: Of the whole run.
        warnings: What went wrong beside the run's work.
        about: With what it was made: texts, and `parameters` as a mapping of texts.
    """

    run_id: str
    decision: Decision
    best_parameters: Mapping[str, Value] | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    model_path: str | None = None
    endpoint: str | None = None
    smoke: Smoke | None = None
    report: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    total_seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def write(summary: Summary) -> None:
    """Keep a run's summary.

    Raises:
        Unavailable: The volume cannot be written.
    """
    write_text(paths.run_summary(summary.run_id), json.dumps(plain(summary), indent=2))


def read(run_id: str) -> Summary | None:
    """Return what a run came to, or None where it has not ended well, or its summary cannot be read."""
    try:
        return TypeAdapter(Summary).validate_json(paths.run_summary(run_id).read_bytes())
    except (OSError, ValueError):
        return None
