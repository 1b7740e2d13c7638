"""What a run came to, from its steps' records: a summary for programs, a report for people."""

from __future__ import annotations

import time

from hyperflow import client, datasets
from hyperflow.report import pages
from hyperflow.report.about import about
from hyperflow.volume import notices, paths, records, summary
from hyperflow.volume.records import Predict, Records
from hyperflow.volume.summary import Decision, Smoke, Summary

_SHOWN_ELSEWHERE = ("about", "decision", "run_id", "report", "warnings")


def write(run_id: str, started: float) -> Summary:
    """Write the summary and the report of a run that has ended well; return the summary."""
    kept = records.read_all(run_id)
    made = summarise(run_id, kept, started)
    shown = {name: value for name, value in records.plain(made).items() if name not in _SHOWN_ELSEWHERE}
    warnings = [pages.notices(made.warnings)] if made.warnings else []
    parts = [pages.lead(made.decision), *warnings, pages.summary(shown), *sections(kept), pages.about(made.about)]
    pages.write(made.report, f"Run {run_id}", parts)
    summary.write(made)
    return made


def summarise(run_id: str, kept: Records, started: float) -> Summary:
    """Put the figures of a run's steps together.

    Args:
        run_id: The run.
        kept: What came of its steps.
        started: When it started, in seconds since 1970.
    """
    tuned, trained, tested = kept.tune, kept.train, kept.predict
    model = trained.model if trained else None
    return Summary(
        run_id=run_id,
        decision=_decision(kept),
        best_parameters=tuned.best.parameters if tuned else model.parameters if model else None,
        validation_accuracy=trained.metrics.get("validation-accuracy") if trained else None,
        test_accuracy=model.accuracy if model else None,
        model_path=model.path if model else None,
        endpoint=client.predict_url(tested.endpoint) if tested else None,
        smoke=_smoke(tested) if tested else None,
        report=str(paths.run_report(run_id)),
        seconds={record.stage: record.seconds for record in kept.kept},
        total_seconds=round(time.time() - started, 1),
        warnings=tuple(notices.all_of(run_id)),
        about=about(run_id, kept, time.time()),
    )


def _decision(kept: Records) -> Decision:
    """Say how it ended: a model went live, was refused, or there was none to make."""
    if kept.plan and kept.plan.action == "skip":
        return Decision("skipped", False, kept.plan.reason)
    made = kept.decide
    assert made, "a run that has ended well has decided"
    return Decision("deployed" if made.deploy else "refused", made.deploy, made.reason, made.approval)


def _smoke(tested: Predict) -> Smoke:
    return Smoke(tested.accuracy, tested.instances, tested.p50_ms, tested.p99_ms, tested.first_ms)


def sections(kept: Records) -> list[str]:
    """Show what came of each of a run's steps, as far as they have ended."""
    shown = pages.plan(kept.plan) if kept.plan else []
    shown += [pages.verdict(kept.decide)] if kept.decide else []
    shown += [pages.trials(kept.tune)] if kept.tune else []
    if kept.train and kept.load_data:
        shown += pages.training(kept.train, datasets.open_dataset(kept.load_data.dataset.path))
    return shown
