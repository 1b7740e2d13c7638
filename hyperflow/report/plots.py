"""The plots of the report, drawn by Matplotlib, as images that carry their own data."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperflow.specs import Drift, InputDrift, Value
from hyperflow.volume.records import Tune

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOUR = "#2563eb"
_ACCENT = "#dc2626"
_MUTED = "#94a3b8"
_DARK = 64
_DRAWING = threading.Lock()  # Matplotlib's fonts and settings are shared by all threads


def history(record: Tune) -> str:
    """Draw every trial's value in the order of the trials, and the best so far."""
    figure, axes = _axes("trial", record.metric, "History")
    values = [value for _, value in scored(record)]
    best = np.maximum.accumulate(values) if record.direction == "maximize" else np.minimum.accumulate(values)
    axes.plot(range(1, len(values) + 1), values, "o", color=_COLOUR, label="trial")
    axes.step(range(1, len(values) + 1), best, where="post", color=_ACCENT, label="best so far")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return _image(figure)


def over_parameter(record: Tune, name: str) -> str:
    """Draw the objective over one parameter."""
    figure, axes = _axes(name, record.metric, f"Over {name}")
    values = [parameters[name] for parameters, _ in scored(record)]
    axes.plot(values, [value for _, value in scored(record)], "o", color=_COLOUR)
    axes.plot([record.best.parameters[name]], [record.best.value], "*", color=_ACCENT, markersize=14)
    numbers = [value for value in values if isinstance(value, int | float)]
    if _spans_decades(numbers):
        _make_logarithmic(axes, max(numbers) / min(numbers))
    elif numbers:
        axes.locator_params(axis="x", nbins=5)
    return _image(figure)


def _make_logarithmic(axes: Any, ratio: float) -> None:
    """Give an axis a logarithmic scale, with few labels that are plain numbers: they never touch."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 50 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def parallel(record: Tune, names: Sequence[str]) -> str:
    """Draw each trial as a line through its parameters to its value, the better the darker."""
    from matplotlib import colormaps

    shades = colormaps["Blues"]
    figure, axes = _axes("", "", "Parallel coordinates", (9.6, 3.6))
    trials = scored(record)
    columns = [_places([parameters[name] for parameters, _ in trials]) for name in names]
    values = [value for _, value in trials]
    columns.append(_places(values))
    good = columns[-1][0] if record.direction == "maximize" else 1 - columns[-1][0]
    for row in np.argsort(good):
        axes.plot([column[row] for column, _ in columns], color=shades(0.15 + 0.85 * good[row]), linewidth=1.5)
    axes.set_xticks(range(len(columns)), [*names, record.metric])
    axes.set(yticks=[], ylim=(-0.08, 1.08))
    axes.spines["left"].set_visible(False)
    for place, (_, marks) in enumerate(columns):
        for height, text in marks.items():
            axes.text(place + 0.02, height, text, fontsize=8, va="center", backgroundcolor="#ffffffb0")
    axes.grid(axis="x", alpha=0.6)
    return _image(figure)


def correlations(record: Tune, names: Sequence[str]) -> dict[str, float]:
    """Return Spearman's rank correlation of each parameter that is a number with the value, the strongest first."""
    from scipy.stats import spearmanr

    trials = scored(record)
    values = [value for _, value in trials]
    found = {}
    for name in names:
        column = [parameters[name] for parameters, _ in trials]
        if len(set(column)) > 1 and len(set(values)) > 1 and not any(isinstance(each, str) for each in column):
            found[name] = float(spearmanr(column, values).statistic)
    return dict(sorted(found.items(), key=lambda each: -abs(each[1])))


def _places(values: Sequence[Value]) -> tuple[Any, dict[float, str]]:
    """Return the height of each value on an axis from 0 to 1, and the texts to write beside it."""
    if any(isinstance(value, str) for value in values):
        kinds = sorted({str(value) for value in values})
        height = {kind: (place + 0.5) / len(kinds) for place, kind in enumerate(kinds)}
        return np.array([height[str(value)] for value in values]), {height[kind]: kind for kind in kinds}
    numbers = np.array(values, dtype=float)
    low, high = numbers.min(), numbers.max()
    marks = {0.0: f"{low:.3g}", 1.0: f"{high:.3g}"}
    if _spans_decades(numbers):
        numbers, low, high = np.log(numbers), np.log(low), np.log(high)
    if low == high:
        return np.full(len(numbers), 0.5), {0.5: marks[0.0]}
    return (numbers - low) / (high - low), marks


def _spans_decades(numbers: Any) -> bool:
    """Tell whether values are better told apart on a logarithmic axis."""
    return len(numbers) > 0 and min(numbers) > 0 and max(numbers) / min(numbers) > 5


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


def curves(values: Mapping[str, Sequence[float]], metric: str) -> str:
    """Draw a metric of several trials over their epochs."""
    figure, axes = _axes("epoch", metric, "Trials as they go")
    for name, points in values.items():
        axes.plot(range(1, len(points) + 1), points, "-o", label=name, markersize=3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(values) <= 10:
        axes.legend(frameon=False, fontsize=7)
    return _image(figure)


def shares(drift: Drift, classes: Sequence[str]) -> str:
    """Draw the shares of the classes, in the training set and among the answers."""
    figure, axes = _axes("", "share", "Classes")
    places = np.arange(len(classes))
    axes.bar(places - 0.2, drift.expected, 0.4, color=_MUTED, label="training set")
    axes.bar(places + 0.2, drift.observed, 0.4, color=_COLOUR, label="answers")
    axes.set_xticks(places, _plain(classes), rotation=45, ha="right")
    axes.legend(frameon=False)
    return _image(figure)


def brightness(drift: InputDrift) -> str:
    """Draw how bright pictures are on average, those learnt from and those sent."""
    figure, axes = _axes("mean brightness of a picture", "share", "Brightness")
    width = 255 / len(drift.expected)
    places = (np.arange(len(drift.expected)) + 0.5) * width
    axes.bar(places - 0.2 * width, drift.expected, 0.4 * width, color=_MUTED, label="training set")
    axes.bar(places + 0.2 * width, drift.observed, 0.4 * width, color=_COLOUR, label="sent")
    axes.legend(frameon=False)
    return _image(figure)


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Draw how often each class was read as which."""
    figure, axes = _axes("read as", "is", "Confusion matrix", (6.4, 5.6))
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), _plain(classes), rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), _plain(classes))
    if len(classes) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "#334155"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    return _image(figure)


def _plain(names: Sequence[str]) -> list[str]:
    """Keep Matplotlib from reading formulas in names."""
    return [name.replace("$", r"\$") for name in names]


def scored(record: Tune) -> list[tuple[Mapping[str, Value], float]]:
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
    import matplotlib

    buffer = io.BytesIO()
    with _DRAWING, matplotlib.rc_context({"svg.hashsalt": "hyperflow"}):  # the same figure is the same text
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def is_negative(images: Any) -> bool:
    """Tell whether grey images are light on black, as Fashion-MNIST's are; on paper they are shown the other way round.

    Args:
        images: Levels 0 to 255, [n, height, width] or, with colours, [n, height, width, 3].
    """
    return np.ndim(images) == 3 and bool(np.median(images) < _DARK)


def picture(pixels: Any, negative: bool = False) -> str:
    """Draw one image: levels 0 to 255, [height, width] or [height, width, 3]; a negative one as ink on paper."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.asarray(pixels), cmap="gray_r" if negative else "gray", vmin=0, vmax=255, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
