"""All runs of a volume on one page, to be searched, and two of them side by side."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from hyperflow import volume
from hyperflow.report import pages
from hyperflow.report.about import given
from hyperflow.volume import paths, summary


def newest_first() -> list[str]:
    """List the ids of all runs by when they ended, or last gave a sign of life."""
    return [folder.name for folder in sorted(paths.all_runs().glob("[!.]*/"), key=_last_change, reverse=True)]


def write() -> Path:
    """Write the page into the folder of the runs; return its place.

    Raises:
        Unavailable: The volume cannot be written.
    """
    target = paths.runs_index()
    volume.write_text(target, pages.page("Runs", [pages.runs([_entry(run_id) for run_id in newest_first()])]))
    return target


def _entry(run_id: str) -> dict[str, Any]:
    ended = time.strftime("%Y-%m-%d %H:%M", time.localtime(_last_change(paths.run_path(run_id))))
    made = summary.read(run_id)
    if made is None:
        told = {"run": run_id, "decision": "not ended", "test accuracy": ""}
        shown = {"outcome": "not ended", "report": "", "accuracy": "", "data": "", "seconds": "", "given": ""}
        return {**shown, "id": run_id, "ended": ended, "values": told}
    parameters: dict[str, str] = made.about.get("parameters", {})
    shown = {
        "id": run_id, "report": f"{run_id}/{paths.run_report(run_id).name}", "ended": ended,
        "outcome": made.decision.outcome, "data": made.about.get("data set", ""),
        "seconds": f"{made.total_seconds:.0f}",
        "accuracy": "" if made.test_accuracy is None else f"{made.test_accuracy:.4f}",
        "given": ", ".join(f"{name}={text}" for name, text in given(parameters).items() if name != "data_source"),
    }  # fmt: skip
    values = {
        "run": run_id, "decision": f"{made.decision.outcome}: {made.decision.reason}",
        "test accuracy": shown["accuracy"],
        **{f"best {name}": str(value) for name, value in (made.best_parameters or {}).items()},
        **{name: text for name, text in made.about.items() if name != "parameters"}, **parameters,
    }  # fmt: skip
    return {**shown, "values": values}


def _last_change(folder: Path) -> float:
    signs = [paths.run_summary(folder.name), paths.run_log(folder.name), folder]
    return next((sign.stat().st_mtime for sign in signs if sign.exists()), 0.0)
