"""A run while it goes: the sections that its report will have, as far as they are known now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hyperflow import metrics
from hyperflow.engines import search
from hyperflow.parameters import Parameters
from hyperflow.report import pages, run
from hyperflow.specs import Trial
from hyperflow.volume import paths, records
from hyperflow.volume.records import Asked, Tune

_MOST_CURVES = 30


@dataclass(frozen=True)
class Stage:
    """A stage that has begun.

    Args:
        name: Which.
        runs: Whether it is at work now.
        seconds: How long it took, where it has ended.
        done: Units finished.
        total: Units there are; 0 where that is not known.
        text: What it said last.
    """

    name: str
    runs: bool = True
    seconds: float = 0.0
    done: int = 0
    total: int = 0
    text: str = ""


def page(run_id: str, stages: Sequence[Stage], started: float, command: str, error: str = "") -> str:
    """Make the page of a run as it is now.

    Args:
        run_id: The run.
        stages: Those that have begun.
        started: When the run was, in seconds since 1970.
        command: What goes on with the run when it was stopped.
        error: Why it has ended, where it has ended badly.
    """
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started))
    head = pages.live({"stages": stages, "started": when, "command": command, "error": error})
    return pages.page(f"Run {run_id}", [head, *_sections(run_id)])


def state(run_id: str) -> int:
    """Return a number that is another one as soon as the page would be."""
    files = [*paths.step_records(run_id).glob("*.json"), *_logs(run_id), paths.study(run_id), _chief(run_id)]
    return hash(tuple((path.name, path.stat().st_mtime_ns) for path in files if path.exists()))


def _sections(run_id: str) -> list[str]:
    kept = records.read_all(run_id)
    shown = run.sections(replace(kept, tune=kept.tune or search_so_far(run_id)))
    curves = _trial_curves(run_id) if kept.tune is None else {}
    if any(len(values) > 1 for values in curves.values()):
        shown.append(pages.trial_curves(curves, _asked(run_id).objective_metric))
    if kept.train is None and (lines := _lines(_chief(run_id))):
        shown.append(pages.curves(metrics.curve(lines), metrics.latest(lines)))
    return shown


def search_so_far(run_id: str) -> Tune | None:
    """Return what is known of a search that has not ended; its best trial has no value where none has succeeded."""
    asked = _asked(run_id)
    known = search.so_far(paths.tuning(run_id), asked.objective_metric)
    trials = tuple(_valued(run_id, trial, asked.objective_metric) for trial in known)
    if not trials:
        return None
    sign = -1 if asked.objective_type == "minimize" else 1
    good = [(sign * trial.value, trial) for trial in trials if trial.status == "succeeded" and trial.value is not None]
    best = max(good, key=lambda each: each[0])[1] if good else trials[0]
    return Tune(
        metric=asked.objective_metric, direction=asked.objective_type, best=best, trials=trials,
        location=str(paths.study(run_id)),
    )  # fmt: skip


def _valued(run_id: str, trial: Trial, metric: str) -> Trial:
    """Add to a trial that runs what it has printed last."""
    if trial.status != "running":
        return trial
    log = search.log_of(paths.tuning(run_id), int(trial.name.rpartition("-")[2]))
    return replace(trial, value=metrics.latest(_lines(log)).get(metric))


def _trial_curves(run_id: str) -> dict[str, list[float]]:
    metric = _asked(run_id).objective_metric
    curves = {log.stem: metrics.curve(_lines(log)).get(metric, []) for log in _logs(run_id)[-_MOST_CURVES:]}
    return {name: values for name, values in curves.items() if values}


def _asked(run_id: str) -> Parameters:
    asked = records.read(run_id, Asked)
    return Parameters.complete(asked.values if asked else {})


def _logs(run_id: str) -> list[Path]:
    return sorted(paths.tuning(run_id).glob("trial-*.log"))


def _chief(run_id: str) -> Path:
    return paths.training(run_id) / "chief-0.log"


def _lines(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
