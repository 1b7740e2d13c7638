"""What people look at: trials, curves, confusion matrix, misread images, as HTML that needs no other file.

Each section is made from a step's record, so the page in the KFP UI and the local report of a whole
run show the same. Plots are drawn by Matplotlib, pages by Jinja2, which escapes whatever a trainer
or a user may have put into a name.
"""

from __future__ import annotations

import base64
import functools
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

Record = Mapping[str, Any]

_COLOUR = "#2563eb"
_ACCENT = "#dc2626"
_MUTED = "#94a3b8"
_CURVES = (("loss", "validation-loss"), ("accuracy", "validation-accuracy"))
_MOST_TRIALS_SHOWN = 200


def page(title: str, sections: Sequence[str]) -> str:
    """Put sections into a page of their own."""
    return _templates().get_template("page.html.j2").render(title=title, sections=sections)


def trials(record: Record) -> str:
    """Show a search: the objective's history, its value over each parameter, and a table of all trials."""
    scored = [trial for trial in record["trials"] if trial["value"] is not None and trial["status"] == "succeeded"]
    names = list(record["best"]["parameters"])
    plots = [_plot(_history(scored, record))]
    plots += [_plot(_over_parameter(scored, name, record)) for name in names]
    ranked = sorted(record["trials"], key=lambda trial: _rank(trial, record["direction"]))
    return _render(
        "trials.html.j2", record=record, names=names, plots=plots, ranked=ranked[:_MOST_TRIALS_SHOWN],
        hidden=max(0, len(ranked) - _MOST_TRIALS_SHOWN),
    )  # fmt: skip


def training(record: Record, images: Mapping[int, Any]) -> list[str]:
    """Show a training: curves, confusion matrix, scores a class, and the images read most wrongly.

    Args:
        record: The train step's record.
        images: Test images, uint8 [height, width], by the index that the evaluation gives.
    """
    evaluation = record["evaluation"]
    plots = [_plot(_curve(record["curve"], pair)) for pair in _CURVES if any(name in record["curve"] for name in pair)]
    sections = [_render("training.html.j2", record=record, plots=plots, metrics=sorted(record["metrics"].items()))]
    if "confusion_matrix" in evaluation:
        matrix = _plot(_confusion(evaluation["confusion_matrix"], evaluation["classes"]))
        sections.append(_render("classes.html.j2", evaluation=evaluation, matrix=matrix))
    shown = [entry for entry in evaluation.get("misread", []) if entry["index"] in images]
    if shown:
        classes = evaluation["classes"]
        entries = [
            {
                "image": _picture(images[entry["index"]]), "label": classes[entry["label"]],
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
        plot = _plot(_shares(drift, record["classes"]))
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
            "image": _picture(images[i]), "label": classes[labels[i]], "answer": classes[read[i]],
            "probability": float(probabilities[i, read[i]]), "right": bool(read[i] == labels[i]),
        }
        for i in order
    ]  # fmt: skip
    return _render("images.html.j2", title="What the deployed model answered, wrong ones first", entries=entries)


def summary(values: Record) -> str:
    """Show a run's summary as a table."""
    return _render("summary.html.j2", summary=values)


def _history(scored: Sequence[Record], record: Record) -> Figure:
    figure, axes = _axes("trial", record["metric"], "History")
    values = [trial["value"] for trial in scored]
    best = np.maximum.accumulate(values) if record["direction"] == "maximize" else np.minimum.accumulate(values)
    axes.plot(range(1, len(values) + 1), values, "o", color=_COLOUR, label="trial")
    axes.step(range(1, len(values) + 1), best, where="post", color=_ACCENT, label="best so far")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return figure


def _over_parameter(scored: Sequence[Record], name: str, record: Record) -> Figure:
    figure, axes = _axes(name, record["metric"], f"Over {name}")
    values = [trial["parameters"][name] for trial in scored]
    axes.plot(values, [trial["value"] for trial in scored], "o", color=_COLOUR)
    axes.plot([record["best"]["parameters"][name]], [record["best"]["value"]], "*", color=_ACCENT, markersize=14)
    numbers = [value for value in values if isinstance(value, int | float)]
    if numbers and min(numbers) > 0 and max(numbers) / min(numbers) > 5:
        axes.set_xscale("log")
    return figure


def _curve(curve: Mapping[str, Sequence[float]], names: Sequence[str]) -> Figure:
    figure, axes = _axes("epoch", names[0], names[0].capitalize())
    for name, colour in zip(names, (_MUTED, _COLOUR), strict=True):
        values = curve.get(name, [])
        axes.plot(range(1, len(values) + 1), values, "-o", color=colour, label=name, markersize=3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return figure


def _shares(drift: Record, classes: Sequence[str]) -> Figure:
    figure, axes = _axes("", "share", "Classes")
    places = np.arange(len(classes))
    axes.bar(places - 0.2, drift["expected"], 0.4, color=_MUTED, label="training set")
    axes.bar(places + 0.2, drift["observed"], 0.4, color=_COLOUR, label="answers")
    axes.set_xticks(places, classes, rotation=45, ha="right")
    axes.legend(frameon=False)
    return figure


def _confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    figure, axes = _axes("read as", "is", "Confusion matrix", (6.4, 5.6))
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    if len(classes) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "#334155"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    return figure


def _axes(x: str, y: str, title: str, size: tuple[float, float] = (4.8, 3.2)) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure  # imported late: steps that draw nothing need not wait for it

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _plot(figure: Figure) -> str:
    """Return a figure as the address of an image that carries its own data."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _picture(pixels: Any) -> str:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.asarray(pixels), cmap="gray_r", vmin=0, vmax=255, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


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
        loader=jinja2.PackageLoader("hyperflow"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = _number
    return environment


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
