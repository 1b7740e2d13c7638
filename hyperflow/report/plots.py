"""The plots of the report, drawn by Matplotlib, as images that carry their own data."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperflow.specs import Drift, Value
from hyperflow.volume.records import Tune

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOUR = "#2563eb"
_ACCENT = "#dc2626"
_MUTED = "#94a3b8"


def history(record: Tune) -> str:
    """Draw every trial's value in the order of the trials, and the best so far."""
    figure, axes = _axes("trial", record.metric, "History")
    values = [value for _, value in _scored(record)]
    best = np.maximum.accumulate(values) if record.direction == "maximize" else np.minimum.accumulate(values)
    axes.plot(range(1, len(values) + 1), values, "o", color=_COLOUR, label="trial")
    axes.step(range(1, len(values) + 1), best, where="post", color=_ACCENT, label="best so far")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return _image(figure)


def over_parameter(record: Tune, name: str) -> str:
    """Draw the objective over one parameter."""
    figure, axes = _axes(name, record.metric, f"Over {name}")
    values = [parameters[name] for parameters, _ in _scored(record)]
    axes.plot(values, [value for _, value in _scored(record)], "o", color=_COLOUR)
    axes.plot([record.best.parameters[name]], [record.best.value], "*", color=_ACCENT, markersize=14)
    numbers = [value for value in values if isinstance(value, int | float)]
    if numbers and min(numbers) > 0 and max(numbers) / min(numbers) > 5:
        axes.set_xscale("log")
    return _image(figure)


def curve(values: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    """Draw a metric, and the same on the validation images, over the epochs."""
    figure, axes = _axes("epoch", names[0], names[0].capitalize())
    for name, colour in zip(names, (_MUTED, _COLOUR), strict=True):
        if not (points := values.get(name)):
            continue
        axes.plot(range(1, len(points) + 1), points, "-o", color=colour, label=name, markersize=3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return _image(figure)


def shares(drift: Drift, classes: Sequence[str]) -> str:
    """Draw the shares of the classes, in the training set and among the answers."""
    figure, axes = _axes("", "share", "Classes")
    places = np.arange(len(classes))
    axes.bar(places - 0.2, drift.expected, 0.4, color=_MUTED, label="training set")
    axes.bar(places + 0.2, drift.observed, 0.4, color=_COLOUR, label="answers")
    axes.set_xticks(places, classes, rotation=45, ha="right")
    axes.legend(frameon=False)
    return _image(figure)


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Draw how often each class was read as which."""
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
    return _image(figure)


def _scored(record: Tune) -> list[tuple[Mapping[str, Value], float]]:
    """Return parameters and value of each trial that succeeded with one."""
    return [
        (trial.parameters, trial.value)
        for trial in record.trials
        if trial.value is not None and trial.status == "succeeded"
    ]


def _axes(x: str, y: str, title: str, size: tuple[float, float] = (4.8, 3.2)) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure  # imported late: steps that draw nothing need not wait for it

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _image(figure: Figure) -> str:
    """Return a figure as the address of an image that carries its own data."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def picture(pixels: Any) -> str:
    """Draw one image: grey levels 0 to 255, [height, width]."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.asarray(pixels), cmap="gray_r", vmin=0, vmax=255, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
