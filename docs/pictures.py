"""Draw the pictures of the documents: `python docs/pictures.py`, or with the names of some of them.

`pipeline` and `engines` are drawn from the compiled YAML, `terminal` from the short run of docs/start.md, and `report`
from one with the pipeline's own defaults (five minutes), with Chromium.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PIPELINE = ROOT / "build" / "train_and_serve.yaml"
PICTURES = ROOT / "docs" / "pictures"
REPORT = ROOT / "docs" / "images" / "report.png"

STYLE = """<style>
text { font: 14px Inter, "Noto Sans KR", system-ui, sans-serif; fill: #1e293b; text-anchor: middle }
.small { font-size: 11px; fill: #475569 } .left { text-anchor: start } .head { font-weight: 600 }
rect { rx: 8; fill: #eef2ff; stroke: #6366f1 } .group { fill: none; stroke: #94a3b8; stroke-dasharray: 5 4 }
.back { fill: #ffffff; stroke: none } .other { fill: #f0fdf4; stroke: #22c55e }
path { fill: none; stroke: #64748b; stroke-width: 1.5; marker-end: url(#tip) }
</style><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<polygon points="0,0 8,4 0,8" fill="#64748b"/></marker></defs>"""
SHORT = ("--run-id", "small", "--set", "epochs=2", "--set", "max_trials=2")
"""The run that docs/start.md has the reader try."""
COLUMNS = 100
HOME = "/home/you/hyperflow/"
"""What the pictures have in the place of this machine's folder."""
WIDTH, HEIGHT, GAP = 104, 44, 34

SIDES: Mapping[str, tuple[str, str]] = {
    "check": ("rights, namespace, parameters", "folder, port, parameters"),
    "load_data": ("the claim, mounted by every pod", "the folder volume/"),
    "tune": ("Katib Experiment, or a Job a trial", "Optuna, a process a trial"),
    "train": ("TFJob, TrainJob or Job", "TensorFlow processes"),
    "decide": ("the gate", "the gate"),
    "deploy": ("KServe InferenceService", "the model server, a process"),
    "predict": ("labelled test images, over HTTP", "labelled test images, over HTTP"),
}
"""What each step calls, on a cluster and on this machine."""


@dataclass(frozen=True)
class Task:
    """A step of a pipeline: what it waits for, and the condition that it stands under."""

    name: str
    after: tuple[str, ...]
    condition: str = ""


def tasks(pipeline: Path = PIPELINE) -> list[Task]:
    """Read a compiled pipeline's steps, those under conditions too, in an order in which they can run."""
    compiled = next(yaml.safe_load_all(pipeline.read_text(encoding="utf-8")))
    found = list(_tasks(compiled, compiled["root"]["dag"], "", ()))
    ordered: list[Task] = []
    while len(ordered) < len(found):
        known = {task.name for task in ordered}
        ordered += [task for task in found if task.name not in known and set(task.after) <= known]
    return ordered


def _tasks(compiled: Any, dag: Any, condition: str, outer: tuple[str, ...]) -> Iterator[Task]:
    for key, task in dag["tasks"].items():
        after = (*(name for name in task.get("dependentTasks", ()) if name in dag["tasks"]), *outer)
        inner = compiled["components"][task["componentRef"]["name"]].get("dag")
        if inner is None:
            yield Task(key.replace("-", "_"), tuple(name.replace("-", "_") for name in after), condition)
        else:
            trigger = task.get("triggerPolicy", {}).get("condition", "")
            yield from _tasks(compiled, inner, _worded(trigger) or condition, after)


def _worded(trigger: str) -> str:
    """Word a condition: `inputs.…['…decide-action'].string_value == 'deploy'` is `decide: deploy`."""
    values = re.findall(r"== (?:'([^']+)'|(true))", trigger)
    return f"only if the gate says {values[0][0] or 'yes'}" if values else ""


def draw_pipeline() -> str:
    """Draw the steps from left to right, with a frame about those under a condition."""
    steps = tasks()
    column = {task.name: index for index, task in enumerate(steps)}
    parts = []
    for task in steps:
        parts.append(_box(_x(column[task.name]), 50, task.name))
        for before in _needed(task, steps):
            parts.append(_arrow(column[before], column[task.name]))
    framed = [column[task.name] for task in steps if task.condition]
    if framed:
        left, right = _x(min(framed)) - 14, _x(max(framed)) + WIDTH + 14
        condition = html.escape(next(task.condition for task in steps if task.condition))
        parts.append(f'<rect class="group" x="{left}" y="30" width="{right - left}" height="{HEIGHT + 56}"/>')
        parts.append(f'<text class="small" x="{(left + right) / 2}" y="{HEIGHT + 76}">{condition}</text>')
    return _svg(_x(len(steps)) + 6, HEIGHT + 100, parts)


def _needed(task: Task, steps: list[Task]) -> list[str]:
    """Return the steps that a step waits for, but for those that another of them waits for."""
    after = {each.name: each.after for each in steps}
    return [name for name in task.after if not any(name in after[other] for other in task.after)]


def draw_engines() -> str:
    """Draw the two engines side by side: the same steps, and what each calls."""
    steps = [task.name for task in tasks()]
    heads = {145: "On Kubeflow", 360: "One pipeline", 575: "On this machine"}
    parts = [f'<text class="head" x="{x}" y="30">{text}</text>' for x, text in heads.items()]
    for row, step in enumerate(steps):
        top = 50 + row * 52
        there, here = SIDES[step]
        parts += [
            f'<rect x="20" y="{top}" width="250" height="38"/>',
            f'<text class="small" x="145" y="{top + 23}">{there}</text>',
            f'<text x="360" y="{top + 24}">{step}</text>',
            f'<rect class="other" x="450" y="{top}" width="250" height="38"/>',
            f'<text class="small" x="575" y="{top + 23}">{here}</text>',
            f'<path d="M308 {top + 19} H276"/>',
            f'<path d="M412 {top + 19} H444"/>',
        ]
    return _svg(720, 60 + len(steps) * 52, parts)


def _x(column: int) -> int:
    return 20 + column * (WIDTH + GAP)


def _box(x: int, y: int, text: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}"/><text x="{x + WIDTH / 2}" y="{y + 27}">{text}</text>'
    )


def _arrow(start: int, end: int) -> str:
    """Lead an arrow to the next box straight, and to a later one in a bow above those between."""
    middle = 50 + HEIGHT / 2
    if end == start + 1:
        return f'<path d="M{_x(start) + WIDTH} {middle} H{_x(end) - 2}"/>'
    from_, to, top = _x(start) + WIDTH / 2, _x(end) + WIDTH / 2, 26 - 5 * (end - start)
    return f'<path d="M{from_} 50 C{from_} {top} {to} {top} {to} 48" opacity="0.35"/>'


def _svg(width: int, height: int, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return "\n".join([head, STYLE, f'<rect class="back" width="{width}" height="{height}"/>', *parts, "</svg>", ""])


def run(folder: Path, *words: str) -> str:
    """Run the pipeline in a terminal of its own, and return all that it has written there."""
    command = [sys.executable, "-m", "hyperflow", "run", *words, "--folder", str(folder / "volume")]
    ours, its = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=its, stdout=its, stderr=its)
    os.close(its)
    written = b""
    with contextlib.suppress(OSError):  # what the end of a terminal is to its reader
        while part := os.read(ours, 65536):
            written += part
    if process.wait():
        sys.exit(written.decode())
    return written.decode().replace(f"{folder}/", HOME)


def settled(written: str) -> list[str]:
    """Return the lines that a terminal shows in the end: a bar is drawn over the one before it."""
    lines, row = [""], 0
    for part in re.split(r"(\r|\n|\x1b\[(?:1A|2K|\?25[lh]))", written):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part != "\r" and not part.startswith("\x1b[?25"):
            lines[row] += part
    return lines


def draw_terminal(command: str, written: str) -> str:
    """Draw what a run has written as a terminal shows it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS + 4, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    inside = False
    for text in Text.from_ansi("\n".join(settled(written))).split(allow_blank=False):
        inside = text.plain.startswith(" seconds ") or (inside and text.plain.startswith(" " * 20))
        if not inside:  # the seconds are this machine's own
            text.rstrip()
            console.print(text)
    drawn = console.export_svg(title=command, font_aspect_ratio=0.61)
    drawn = re.sub(r"\s*@font-face \{.*?\}|\s*<!--.*?-->", "", drawn, flags=re.DOTALL)  # fonts from elsewhere
    return "\n".join(line.rstrip() for line in drawn.replace("Fira Code", "JetBrains Mono").splitlines()) + "\n"


def take_report(folder: Path) -> None:
    """Take a picture of the run's report with Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or sys.exit("pictures: Chromium is missing")
    page = next((folder / "volume" / "runs").glob("*/report.html"))
    page.write_text(page.read_text(encoding="utf-8").replace(f"{folder}/", HOME), encoding="utf-8")
    words = ["--headless=new", "--no-sandbox", "--hide-scrollbars", f"--screenshot={REPORT}"]
    words += ["--window-size=1000,2071", "--force-device-scale-factor=0.75"]  # as far as the learning curves
    subprocess.run([browser, *words, page.as_uri()], check=True, capture_output=True, timeout=120)


def main(names: list[str]) -> None:
    """Draw the pictures named, or all."""
    PICTURES.mkdir(exist_ok=True)
    wanted = names or ["pipeline", "engines", "terminal", "report"]
    if "pipeline" in wanted:
        (PICTURES / "pipeline.svg").write_text(draw_pipeline(), encoding="utf-8")
    if "engines" in wanted:
        (PICTURES / "engines.svg").write_text(draw_engines(), encoding="utf-8")
    if "terminal" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            drawing = draw_terminal(f"hyperflow run {' '.join(SHORT)}", run(Path(folder), *SHORT))
            (PICTURES / "terminal.svg").write_text(drawing, encoding="utf-8")
    if "report" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder))
            take_report(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
