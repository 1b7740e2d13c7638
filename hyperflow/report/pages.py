"""Pages of each step and of a whole run, as HTML that needs no other file.

Each section is made from a step's record, so the page in the KFP UI and the local report of a whole
run show the same. Plots are drawn by Matplotlib, pages by Jinja2, which escapes whatever a trainer
or a user may have put into a name.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperflow import volume
from hyperflow.report import plots
from hyperflow.report.about import given
from hyperflow.specs import Trial
from hyperflow.volume.evaluation import ClassScores, Evaluation
from hyperflow.volume.records import Decide, Plan, Train, Tune
from hyperflow.volume.summary import Decision

if TYPE_CHECKING:
    import jinja2

    from hyperflow.datasets import Dataset

_CURVES = (("loss", "validation-loss"), ("accuracy", "validation-accuracy"))
_MOST_TRIALS_SHOWN = 200
_FEW = 2  # parameters that a plot of each shows well enough


def write(path: str, title: str, sections: Sequence[str]) -> None:
    """Write sections as a page of their own."""
    volume.write_text(Path(path), page(title, sections))


def page(title: str, sections: Sequence[str]) -> str:
    """Put sections into a page."""
    return _templates().get_template("page.html.j2").render(title=title, sections=sections)


def trials(record: Tune) -> str:
    """Show a search: the objective's history, its value over each parameter, and a table of all trials."""
    names, scored = list(record.best.parameters), plots.scored(record)
    pictures = [plots.history(record), *(plots.over_parameter(record, name) for name in names)] if scored else []
    related: dict[str, float] = {}
    if len(names) > _FEW and len(scored) > 1:
        pictures.append(plots.parallel(record, names))
        related = plots.correlations(record, names)
    ranked = sorted(record.trials, key=lambda trial: _rank(trial, record.direction))
    return _render(
        "trials.html.j2", record=record, best=record.best if scored else None, names=names, plots=pictures,
        related=related, ranked=ranked[:_MOST_TRIALS_SHOWN], hidden=max(0, len(ranked) - _MOST_TRIALS_SHOWN),
        resources=any(trial.cores or trial.memory for trial in ranked),
    )  # fmt: skip


def training(record: Train, dataset: Dataset) -> list[str]:
    """Show a training: curves, confusion matrix, scores a class, and the images read most wrongly."""
    told = record.evaluation
    sections = [curves(record.curve, record.metrics, record.model.path)]
    if told.confusion_matrix:
        told = _named_and_scored(told, dataset.classes)
        matrix = plots.confusion(told.confusion_matrix, told.classes)
        sections.append(_render("classes.html.j2", evaluation=told, matrix=matrix))
    if told.misread:
        images = dataset.images("test")
        negative = plots.is_negative(images)
        shown = [entry for entry in told.misread if entry.index < len(images)]
        entries = [
            {
                "image": plots.picture(images[entry.index], negative), "label": told.classes[entry.label],
                "answer": told.classes[entry.predicted], "probability": entry.probability, "right": False,
            }
            for entry in shown
        ]  # fmt: skip
        sections.append(_render("images.html.j2", title="Misread images, the surest first", entries=entries))
    return sections


def curves(curve: Mapping[str, Sequence[float]], metrics: Mapping[str, float], model: str = "") -> str:
    """Show what a training has printed, and where its model is if there is one."""
    pictures = [plots.curve(curve, pair) for pair in _CURVES if any(name in curve for name in pair)]
    return _render("training.html.j2", plots=pictures, metrics=sorted(metrics.items()), model=model)


def trial_curves(values: Mapping[str, Sequence[float]], metric: str) -> str:
    """Show a metric of each trial over its epochs."""
    return _render("curves.html.j2", plot=plots.curves(values, metric))


def live(values: Mapping[str, Any]) -> str:
    """Show how far a run is."""
    return _render("live.html.j2", **values)


def script() -> str:
    """Return what keeps the page of a run up to date in a browser."""
    return _render("live.js")


def _named_and_scored(told: Evaluation, classes: Sequence[str]) -> Evaluation:
    """Add to a confusion matrix what its trainer has left out: the names of the classes, and their scores."""
    matrix = np.asarray(told.confusion_matrix)
    right, read, there = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    scores = tuple(
        ClassScores(right[i] / max(read[i], 1), right[i] / max(there[i], 1), 2 * right[i] / max(read[i] + there[i], 1),
                    int(there[i]))
        for i in range(len(matrix))
    )  # fmt: skip
    named = len(told.classes) == len(matrix)
    scored = len(told.per_class) == len(matrix)
    return replace(
        told, classes=told.classes if named else tuple(classes), per_class=told.per_class if scored else scores
    )


def plan(record: Plan) -> list[str]:
    """Show what a recurring run had to do, and how far answers and inputs have drifted where that is known."""
    sections = [_render("plan.html.j2", record=record)]
    if record.drift:
        plot = plots.shares(record.drift, record.classes)
        over = record.drift.psi > record.retune_drift > 0
        sections.append(_render("drift.html.j2", record=record, drift=record.drift, plot=plot, over=over))
    if record.inputs_note:
        plot = plots.brightness(record.inputs) if record.inputs else ""
        over = record.inputs is not None and record.inputs.exceeds(record.retune_input_drift)
        sections.append(_render("inputs.html.j2", record=record, drift=record.inputs, plot=plot, over=over))
    return sections


def verdict(record: Decide) -> str:
    """Show what was decided about a model, and by which numbers."""
    answer = "deploy (forced)" if record.forced else "deploy" if record.deploy else "skip"
    return _render("verdict.html.j2", record=record, answer=answer)


def answers(images: Any, labels: Any, probabilities: Any, classes: Sequence[str], most: int = 60) -> str:
    """Show images with their labels and what the deployed model answered, wrong answers first."""
    read = probabilities.argmax(axis=1)
    order = np.argsort(read == labels, kind="stable")[:most]
    negative = plots.is_negative(images)
    entries = [
        {
            "image": plots.picture(images[i], negative), "label": classes[labels[i]], "answer": classes[read[i]],
            "probability": float(probabilities[i, read[i]]), "right": bool(read[i] == labels[i]),
        }
        for i in order
    ]  # fmt: skip
    return _render("images.html.j2", title="What the deployed model answered, wrong ones first", entries=entries)


def notices(texts: Sequence[str]) -> str:
    """Show what went wrong beside the run's work."""
    return _render("notices.html.j2", notices=texts)


def summary(values: Mapping[str, Any]) -> str:
    """Show figures as a table."""
    return _render("summary.html.j2", summary=values)


def lead(decision: Decision) -> str:
    """Say in a sentence what was decided."""
    return _render("lead.html.j2", decision=decision)


def about(values: Mapping[str, Any]) -> str:
    """Show with what a run was made."""
    return _render("about.html.j2", about=values, given=given(values["parameters"]))


def runs(entries: list[dict[str, Any]]) -> str:
    """Show all runs, to be searched and compared."""
    return _render("runs.html.j2", runs=entries)


def _rank(trial: Trial, direction: str) -> float:
    if trial.value is None or trial.status != "succeeded":
        return math.inf
    return -trial.value if direction == "maximize" else trial.value


def _render(template: str, **values: object) -> str:
    return _templates().get_template(template).render(**values)


@functools.cache
def _templates() -> jinja2.Environment:
    import jinja2

    loader = jinja2.PackageLoader("hyperflow.report")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["number"] = _number
    return environment


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
