"""What a run came to, from its steps' records: a summary for programs, a report for people."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from hyperflow import client, datasets, volume
from hyperflow.report import pages
from hyperflow.report.about import about
from hyperflow.volume import notices, paths, records
from hyperflow.volume.records import Predict, Records

_SHOWN_ELSEWHERE = ("about", "decision", "run_id", "report", "warnings")


def write(run_id: str, started: float) -> dict[str, Any]:
    """Write the summary and the report of a run that has ended well; return the summary."""
    kept = records.read_all(run_id)
    made = summarise(kept) | {
        "run_id": run_id,
        "report": str(paths.run_report(run_id)),
        "seconds": {record.stage: record.seconds for record in kept.kept},
        "total_seconds": round(time.time() - started, 1),
        "warnings": notices.all_of(run_id),
        "about": about(run_id, kept, time.time()),
    }
    shown = {name: value for name, value in made.items() if name not in _SHOWN_ELSEWHERE}
    warnings = [pages.notices(made["warnings"])] if made["warnings"] else []
    parts = [pages.lead(made["decision"]), *warnings, pages.summary(shown), *sections(kept), pages.about(made["about"])]
    pages.write(str(paths.run_report(run_id)), f"Run {run_id}", parts)
    volume.write_text(paths.run_summary(run_id), json.dumps(made, indent=2))
    return made


def summarise(kept: Records) -> dict[str, Any]:
    """Put the figures of a run's steps together; those of steps that had nothing to do are None."""
    tuned, trained, tested = kept.tune, kept.train, kept.predict
    model = trained.model if trained else None
    best = tuned.best.parameters if tuned else model.parameters if model else None
    return {
        "decision": _decision(kept),
        "best_parameters": dict(best) if best is not None else None,
        "validation_accuracy": trained.metrics.get("validation-accuracy") if trained else None,
        "test_accuracy": model.accuracy if model else None,
        "model_path": model.path if model else None,
        "endpoint": client.predict_url(tested.endpoint) if tested else None,
        "smoke": _smoke(tested) if tested else None,
    }


def _decision(kept: Records) -> dict[str, Any]:
    """Say how it ended: a model went live, was refused, or there was none to make."""
    if kept.plan and kept.plan.action == "skip":
        return {"outcome": "skipped", "deploy": False, "reason": kept.plan.reason}
    assert kept.decide, "a run that has ended well has decided"
    outcome = "deployed" if kept.decide.deploy else "refused"
    decision = {"outcome": outcome, "deploy": kept.decide.deploy, "reason": kept.decide.reason}
    return decision | ({"approval": asdict(kept.decide.approval)} if kept.decide.approval else {})


def _smoke(tested: Predict) -> dict[str, float]:
    return {name: getattr(tested, name) for name in ("accuracy", "instances", "p50_ms", "p99_ms", "first_ms")}


def sections(kept: Records) -> list[str]:
    """Show what came of each of a run's steps, as far as they have ended."""
    shown = pages.plan(kept.plan) if kept.plan else []
    shown += [pages.verdict(kept.decide)] if kept.decide else []
    shown += [pages.trials(kept.tune)] if kept.tune else []
    if kept.train and kept.load_data:
        shown += pages.training(kept.train, datasets.open_dataset(kept.load_data.dataset.path))
    return shown
