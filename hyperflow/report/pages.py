"""What people look at: trials, curves, confusion matrix, misread images, as HTML that needs no other file.

Each section is made from a step's record, so the page in the KFP UI and the local report of a whole
run show the same. Plots are drawn by Matplotlib, pages by Jinja2, which escapes whatever a trainer
or a user may have put into a name.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperflow.report import plots

if TYPE_CHECKING:
    import jinja2

Record = Mapping[str, Any]

_CURVES = (("loss", "validation-loss"), ("accuracy", "validation-accuracy"))
_MOST_TRIALS_SHOWN = 200


def page(title: str, sections: Sequence[str]) -> str:
    """Put sections into a page of their own."""
    return _templates().get_template("page.html.j2").render(title=title, sections=sections)


def trials(record: Record) -> str:
    """Show a search: the objective's history, its value over each parameter, and a table of all trials."""
    scored = [trial for trial in record["trials"] if trial["value"] is not None and trial["status"] == "succeeded"]
    names = list(record["best"]["parameters"])
    pictures = [plots.history(scored, record)]
    pictures += [plots.over_parameter(scored, name, record) for name in names]
    ranked = sorted(record["trials"], key=lambda trial: _rank(trial, record["direction"]))
    return _render(
        "trials.html.j2", record=record, names=names, plots=pictures, ranked=ranked[:_MOST_TRIALS_SHOWN],
        hidden=max(0, len(ranked) - _MOST_TRIALS_SHOWN),
    )  # fmt: skip


def training(record: Record, images: Mapping[int, Any]) -> list[str]:
    """Show a training: curves, confusion matrix, scores a class, and the images read most wrongly.

    Args:
        record: The train step's record.
        images: Test images, uint8 [height, width], by the index that the evaluation gives.
    """
    evaluation = record["evaluation"]
    pictures = [plots.curve(record["curve"], pair) for pair in _CURVES if any(name in record["curve"] for name in pair)]
    sections = [_render("training.html.j2", record=record, plots=pictures, metrics=sorted(record["metrics"].items()))]
    if "confusion_matrix" in evaluation:
        matrix = plots.confusion(evaluation["confusion_matrix"], evaluation["classes"])
        sections.append(_render("classes.html.j2", evaluation=evaluation, matrix=matrix))
    shown = [entry for entry in evaluation.get("misread", []) if entry["index"] in images]
    if shown:
        classes = evaluation["classes"]
        entries = [
            {
                "image": plots.picture(images[entry["index"]]), "label": classes[entry["label"]],
                "answer": classes[entry["predicted"]], "probability": entry["probability"], "right": False,
            }
            for entry in shown
        ]  # fmt: skip
        sections.append(_render("images.html.j2", title="Misread images, the surest first", entries=entries))
    return sections


def plan(record: Record) -> list[str]:
    """Show what a recurring run had to do, and how far the answers have drifted where that is known."""
    sections = [_render("plan.html.j2", record=record)]
    drift, threshold = record["drift"], record["retune_drift"]
    if drift:
        plot = plots.shares(drift, record["classes"])
        over = drift["psi"] > threshold > 0
        values = {"drift": drift, "classes": record["classes"], "plot": plot, "over": over, "threshold": threshold}
        sections.append(_render("drift.html.j2", **values))
    return sections


def verdict(record: Record) -> str:
    """Show what was decided about a model, and by which numbers."""
    answer = "deploy (forced)" if record["forced"] else "deploy" if record["deploy"] else "skip"
    return _render("verdict.html.j2", record=record, answer=answer, comparison=record["comparison"])


def answers(images: Any, labels: Any, probabilities: Any, classes: Sequence[str], most: int = 60) -> str:
    """Show images with their labels and what the deployed model answered, wrong answers first."""
    read = probabilities.argmax(axis=1)
    order = np.argsort(read == labels, kind="stable")[:most]
    entries = [
        {
            "image": plots.picture(images[i]), "label": classes[labels[i]], "answer": classes[read[i]],
            "probability": float(probabilities[i, read[i]]), "right": bool(read[i] == labels[i]),
        }
        for i in order
    ]  # fmt: skip
    return _render("images.html.j2", title="What the deployed model answered, wrong ones first", entries=entries)


def summary(values: Record) -> str:
    """Show a run's summary as a table."""
    return _render("summary.html.j2", summary=values)


def _rank(trial: Record, direction: str) -> float:
    if trial["value"] is None or trial["status"] != "succeeded":
        return math.inf
    return -float(trial["value"]) if direction == "maximize" else float(trial["value"])


def _render(template: str, **values: object) -> str:
    return _templates().get_template(template).render(**values)


@functools.cache
def _templates() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hyperflow.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["number"] = _number
    return environment


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
