"""What a run came to, from its steps' records: a summary for programs, a report for people."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperflow import volume
from hyperflow.report import pages as report

STAGES = ("check", "load_data", "plan", "tune", "train", "decide", "deploy", "predict")

Records = Mapping[str, Any]


def write(folder: Path, started: float) -> dict[str, Any]:
    """Write the summary and the report of a run that has ended well; return the summary."""
    records = read_records(folder)
    made = summarise(records) | {
        "run_id": folder.name,
        "report": str(folder / "report.html"),
        "seconds": {stage: record["seconds"] for stage, record in records.items()},
        "total_seconds": round(time.time() - started, 1),
    }
    volume.write_text(
        folder / "report.html", report.page(f"Run {folder.name}", [report.summary(made), *_pages(records)])
    )
    volume.write_text(folder / "summary.json", json.dumps(made, indent=2))
    return made


def summarise(records: Records) -> dict[str, Any]:
    """Put the figures of a run's steps together; those of steps that had nothing to do are None."""
    train, predict = records.get("train"), records.get("predict")
    model = train["model"] if train else {}
    return {
        "decision": _decision(records),
        "best_parameters": records["tune"]["best"]["parameters"] if "tune" in records else model.get("parameters"),
        "validation_accuracy": train["metrics"].get("validation-accuracy") if train else None,
        "test_accuracy": model.get("accuracy"),
        "model_path": model.get("path"),
        "endpoint": _prediction_url(predict),
        "smoke": {key: predict[key] for key in ("accuracy", "instances", "p50_ms", "p99_ms")} if predict else None,
    }


def read_records(folder: Path) -> dict[str, Any]:
    """Read what the steps of a run wrote down, in the order of the stages."""
    paths = {stage: folder / "steps" / f"{stage}.json" for stage in STAGES}
    return {stage: json.loads(path.read_text(encoding="utf-8")) for stage, path in paths.items() if path.exists()}


def _decision(records: Records) -> dict[str, Any]:
    """Say how it ended: a model went live, was refused, or there was none to make."""
    plan = records.get("plan")
    if plan and plan["action"] == "skip":
        return {"outcome": "skipped", "deploy": False, "reason": plan["reason"]}
    decide = records["decide"]
    outcome = "deployed" if decide["deploy"] else "refused"
    return {"outcome": outcome, "deploy": decide["deploy"], "reason": decide["reason"]}


def _pages(records: Records) -> list[str]:
    sections = report.plan(records["plan"]) if "plan" in records else []
    sections += [report.verdict(records["decide"])] if "decide" in records else []
    sections += [report.trials(records["tune"])] if "tune" in records else []
    sections += report.training(records["train"], _misread(records)) if "train" in records else []
    return sections


def _misread(records: Records) -> dict[int, Any]:
    from hyperflow import datasets

    wanted = [entry["index"] for entry in records["train"]["evaluation"].get("misread", [])]
    if not wanted:
        return {}
    images = datasets.open_dataset(records["load_data"]["dataset"]["path"]).images("test")
    return {index: images[index] for index in wanted}


def _prediction_url(predict: Mapping[str, Any] | None) -> str | None:
    if predict is None:
        return None
    endpoint = predict["endpoint"]
    return f"{endpoint['url']}/v1/models/{endpoint['name']}:predict"
