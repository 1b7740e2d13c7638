"""All runs of a volume on one page, to be searched, and two of them side by side."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from hyperflow import volume
from hyperflow.report import pages
from hyperflow.report.about import given
from hyperflow.volume import paths


def newest_first() -> list[str]:
    """List the ids of all runs by when they ended, or last gave a sign of life."""
    return [folder.name for folder in sorted(paths.all_runs().glob("[!.]*/"), key=_last_change, reverse=True)]


def read_summary(run_id: str) -> dict[str, Any] | None:
    """Return what a run came to, or None where it has not ended well."""
    try:
        summary: dict[str, Any] = json.loads(paths.run_summary(run_id).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return summary


def write() -> Path:
    """Write the page into the folder of the runs; return its place.

    Raises:
        Unavailable: The volume cannot be written.
    """
    target = paths.runs_index()
    volume.write_text(target, pages.page("Runs", [pages.runs([_entry(run_id) for run_id in newest_first()])]))
    return target


def _entry(run_id: str) -> dict[str, Any]:
    summary = read_summary(run_id) or {}
    about = summary.get("about", {})
    changed = given(about.get("parameters", {}))
    accuracy, decision = summary.get("test_accuracy"), summary.get("decision", {})
    shown = {
        "id": run_id, "report": f"{run_id}/{paths.run_report(run_id).name}" if summary else "",
        "ended": time.strftime("%Y-%m-%d %H:%M", time.localtime(_last_change(paths.run_path(run_id)))),
        "outcome": decision.get("outcome", "not ended"), "accuracy": "" if accuracy is None else f"{accuracy:.4f}",
        "data": about.get("data set", ""), "seconds": f"{summary.get('total_seconds', 0):.0f}" if summary else "",
        "given": ", ".join(f"{name}={text}" for name, text in changed.items() if name != "data_source"),
    }  # fmt: skip
    told = {name: text for name, text in about.items() if name != "parameters"}
    best = summary.get("best_parameters") or {}
    values = {
        "run": run_id, "decision": f"{shown['outcome']}: {decision.get('reason', '')}",
        "test accuracy": shown["accuracy"],
        **{f"best {name}": str(value) for name, value in best.items()}, **told, **about.get("parameters", {}),
    }  # fmt: skip
    return {**shown, "values": values}


def _last_change(folder: Path) -> float:
    signs = [paths.run_summary(folder.name), paths.run_log(folder.name), folder]
    return next((sign.stat().st_mtime for sign in signs if sign.exists()), 0.0)
