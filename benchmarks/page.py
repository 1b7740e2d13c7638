"""The page docs/benchmarks.md with its plots, from the records alone: the same records give the same bytes."""

from __future__ import annotations

import io
import json
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from matplotlib.figure import Figure

from benchmarks.record import RESULTS, Row

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
TEMPLATE = Path(__file__).parent / "templates" / "benchmarks.md.j2"
SECTIONS = ("run", "presets", "ablation", "train", "tune", "serve")


def write(folder: Path, path: Path) -> Path:
    """Write the page, and its plots into `benchmarks` beside it."""
    for name, content in render(folder).items():
        target = path if name == "page" else path.parent / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
    return path


def render(folder: Path = RESULTS) -> dict[str, str]:
    """Return the texts of the files: `page`, and the plots by their path from the page."""
    records: dict[str, Any] = {}
    for section in SECTIONS:
        path = folder / f"{section}.json"
        records[section] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    tables = {name: TABLES[name](record["rows"]) for name, record in records.items() if record}
    plots = {f"benchmarks/{name}.svg": _plot(*PLOTS[name](records[name]["rows"])) for name in tables}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, anchor=anchor)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(records=records, tables=tables, sections=SECTIONS)
    return {"page": text.rstrip() + "\n", **plots}


def anchor(text: str) -> str:
    """Return what a row's link ends with."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def number(value: Any) -> str:
    """Write a figure: three digits that count, and a dash where there is none."""
    if value is None:
        return "—"
    if isinstance(value, str):
        return value
    if isinstance(value, float) and abs(value) < 1:
        return f"{value:.4f}".rstrip("0") or "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def median(rows: Iterable[Row], key: str) -> float | None:
    """Return the median of what there is; None where more than half of the rows have nothing."""
    values = [row[key] for row in rows]
    there = sorted(value for value in values if value is not None)
    if 2 * len(there) <= len(values):
        return None
    return statistics.median(there + [float("inf")] * (len(values) - len(there)))


Table = dict[str, Any]  # `title`, `head` and `rows`, each row with the text of its link


def _table(title: str, head: list[str], rows: list[list[Any]]) -> Table:
    return {"title": title, "head": head, "rows": [(anchor(f"{title}-{row[0]}"), row) for row in rows]}


def _groups(rows: list[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def _what(rows: list[Row], what: str) -> list[Row]:
    return [row for row in rows if row["what"] == what]


def _run(rows: list[Row]) -> list[Table]:
    runs, commands = _what(rows, "run"), _what(rows, "command")
    stages = [[name, median([row["stages"] for row in runs], name)] for name in runs[0]["stages"]]
    whole = [
        ["whole run", median(runs, "seconds")],
        ["core-seconds of it", median(runs, "core_seconds")],
        ["share that is not the trainers' own", statistics.median(1 - r["trainers"] / r["seconds"] for r in runs)],
        ["test accuracy", median(runs, "test_accuracy")],
        *stages,
    ]
    memory = [
        [name, max(row["peak_mib"] for row in group)]
        for (name,), group in _groups(_what(rows, "process"), "name").items()
    ]
    return [
        _table("A run", ["", f"seconds, or as the row says; median of {len(runs)}"], whole),
        _table(
            "Commands",
            ["", "seconds", "times", "peak MiB"],
            [[r["name"], r["seconds"], r["times"], r["peak_mib"]] for r in commands],
        ),
        _table("Memory", ["process", "peak resident MiB"], sorted(memory, key=lambda row: -row[1])),
    ]


def _presets(rows: list[Row]) -> list[Table]:
    lines = [
        [f"{preset}, {precision}", *_spread(group), median(group, "seconds"), median(group, "core_seconds"), len(group)]
        for (preset, precision), group in _groups(rows, "preset", "precision").items()
    ]
    head = ["", "mean test accuracy", "lowest", "highest", "s", "core-seconds", "trainings"]
    return [_table("Presets", head, sorted(lines))]


def _ablation(rows: list[Row]) -> list[Table]:
    lines = [
        [name, *_spread(group), median(group, "core_seconds"), len(group)]
        for (name,), group in _groups(rows, "name").items()
    ]
    head = [f"{rows[0]['epochs']} epochs", "mean test accuracy", "lowest", "highest", "core-seconds", "trainings"]
    return [_table("Recipe", head, lines)]


def _spread(rows: list[Row]) -> tuple[str, str, str]:
    scores = [row["test_accuracy"] for row in rows]
    return f"{statistics.fmean(scores):.4f}", f"{min(scores):.4f}", f"{max(scores):.4f}"


def _train(rows: list[Row]) -> list[Table]:
    keys = (
        "images_per_second",
        "share_of_matmul",
        "to_0.90",
        "to_0.92",
        "to_0.93",
        "to_0.94",
        "test_accuracy",
        "peak_mib",
    )
    trainings = [
        [f"{name}, {precision}", *(median(group, key) for key in keys), len(group)]
        for (name, precision), group in _groups(_what(rows, "training"), "name", "precision").items()
    ]
    head = [
        "",
        "images/s",
        "share of matmul rate",
        "s to 0.90",
        "s to 0.92",
        "s to 0.93",
        "s to 0.94",
        "test accuracy",
        "peak MiB",
        "trainings",
    ]
    workers = [
        [f"{r['workers']} worker{'s' * (r['workers'] > 1)}", r["seconds"], r["core_seconds"], r["test_accuracy"]]
        for r in _what(rows, "workers")
    ]
    limits = [[r["precision"], r["flops"] / 1e9, r["size"]] for r in _what(rows, "matmul")]
    return [
        _table("Training", head, trainings),
        _table("Workers", ["two epochs and the export", "seconds", "core-seconds", "test accuracy"], workers),
        _table("Matmul", ["precision", "best GFLOP/s", "matrix side"], limits),
    ]


def _tune(rows: list[Row]) -> list[Table]:
    tables = []
    for (space,), searches in _groups(rows, "space").items():
        # a search that ended without the target took longer than it was given: it counts as no time, not as a short one
        asked = [
            {
                **row,
                "to_target": row["seconds"] if row["reached"] else None,
                "core": row["core_seconds"] if row["reached"] else None,
            }
            for row in searches
        ]
        lines = [
            [
                name,
                median(group, "to_target"),
                median(group, "core"),
                f"{sum(r['reached'] for r in group)} of {len(group)}",
                median(group, "best"),
                median(group, "trials"),
                median(group, "seconds"),
                max(r["peak_mib"] for r in group),
            ]
            for (name,), group in _groups(asked, "name").items()
        ]
        head = [
            "",
            f"s to {searches[0]['target']:g}",
            "core-seconds",
            "reached",
            "best",
            "trials",
            "s in all",
            "peak MiB",
        ]
        tables.append(_table(f"{space.capitalize()} parameters", head, lines))
    return tables


def _serve(rows: list[Row]) -> list[Table]:
    keys = ("rate", "p50", "p99", "rss", "ready")
    lines = [
        [name, *(median(group, key) for key in keys), len(group)] for (name,), group in _groups(rows, "name").items()
    ]
    return [_table("Servers", ["", "requests/s", "p50 ms", "p99 ms", "resident MiB", "s to ready", "rounds"], lines)]


def _bars(lines: list[list[Any]], column: int) -> dict[str, float]:
    return {line[0]: line[column] for line in lines if isinstance(line[column], int | float)}


def _rows_of(table: Table) -> list[list[Any]]:
    return [row for _, row in table["rows"]]


def _plot(title: str, bars: dict[str, float]) -> str:
    """Draw bars as a small SVG without metadata, with the text as text."""
    with matplotlib.rc_context({"svg.hashsalt": "hyperflow", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(6.4, 0.6 + 0.34 * max(len(bars), 1)), layout="constrained")
        axes = figure.add_subplot()
        shown = axes.barh(list(bars), list(bars.values()), color="#3b6ea5")
        axes.bar_label(shown, [f" {number(value)}" for value in bars.values()])
        axes.invert_yaxis()
        axes.set_title(title, loc="left")
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
        output = io.StringIO()
        figure.savefig(output, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return re.sub(r"[ \t]+$", "", output.getvalue(), flags=re.MULTILINE)


TABLES: dict[str, Callable[[list[Row]], list[Table]]] = {
    "run": _run, "presets": _presets, "ablation": _ablation, "train": _train, "tune": _tune, "serve": _serve,
}  # fmt: skip
PLOTS: dict[str, Callable[[list[Row]], tuple[str, dict[str, float]]]] = {
    "run": lambda rows: ("Seconds of a run, by stage", _bars(_rows_of(_run(rows)[0])[4:], 1)),
    "presets": lambda rows: ("Seconds of a training", _bars(_rows_of(_presets(rows)[0]), 4)),
    "ablation": lambda rows: (
        "Wrong answers, %",
        {line[0]: 100 - 100 * float(line[1]) for line in _rows_of(_ablation(rows)[0])},
    ),
    "train": lambda rows: ("Images a second", _bars(_rows_of(_train(rows)[0]), 1)),
    "tune": lambda rows: (
        "Seconds to the target, two parameters and six",
        {
            f"{line[0]} ({table['title'].split()[0].lower()})": line[1]
            for table in _tune(rows)
            for line in _rows_of(table)
            if line[1] is not None
        },
    ),
    "serve": lambda rows: ("Requests a second on one core", _bars(_rows_of(_serve(rows)[0]), 1)),
}
