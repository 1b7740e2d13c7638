"""What the command line shows: tables, bars, a summary."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table

from hyperflow.progress import Progress as Forward

if TYPE_CHECKING:
    from hyperflow.engines.kubeflow import Check
    from hyperflow.runner import Listener
    from hyperflow.volume.summary import Smoke, Summary

# a pipe or a log has no width: leave paths whole there
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)

_WIDE, _BAR, _SHORT_BAR, _STAGE = 100, 20, 5, 9  # columns of a terminal; `load_data` is the longest stage

_OUTCOMES = {"deployed": "green", "refused": "yellow", "skipped": "yellow"}
_CHECKS = {"ok": "green", "warn": "yellow", "fail": "red"}


@contextmanager
def display() -> Iterator[Listener]:
    """Show stages and progress: bars in a terminal, a line a change elsewhere."""
    from hyperflow.runner import Listener

    out = sys.stdout  # a run redirects it to catch what the steps print
    if not console.is_terminal or console.is_dumb_terminal:

        def say(text: object) -> None:
            print(text, file=out, flush=True)

        yield Listener(lambda stage: say(f"{stage} …"), say, say)
        return
    screen = Console(file=out)
    with Progress(*_columns(screen), console=screen, expand=True) as bars:
        shown = _Bars(bars)
        yield Listener(shown.stage, shown.progress, shown.say)
        shown.finish()


def _columns(screen: Console) -> list[ProgressColumn]:
    """Return stage, bar, counter and time, which stay whole, and the text, which gets what is left of the line."""
    spinner, done = ("dots", "✓") if screen.encoding.startswith("utf") else ("line", "+")
    wide = screen.width >= _WIDE
    return [
        SpinnerColumn(spinner, finished_text=f"[green]{done}[/]"),
        TextColumn("{task.description}", table_column=Column(no_wrap=True, width=_STAGE)),
        BarColumn(_BAR if wide else _SHORT_BAR),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=5)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
    ]


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._current: TaskID | None = None

    def stage(self, name: str) -> None:
        self.finish()
        self._current = self._bars.add_task(name, total=None, text="")

    def progress(self, forward: Forward) -> None:
        if self._current is not None:
            self._bars.update(self._current, completed=forward.done, total=forward.total or None, text=forward.text)

    def say(self, line: str) -> None:
        self._bars.console.print(escape(line), highlight=False, soft_wrap=True)

    def finish(self) -> None:
        if self._current is not None:
            total = self._bars.tasks[-1].total or 1
            self._bars.update(self._current, total=total, completed=total)


def summary(made: Summary, serves: bool) -> None:
    """Print what a run came to, with its endpoint if that `serves` still."""
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    decision = made.decision
    rows = {"decision": f"[{_OUTCOMES[decision.outcome]}]{decision.outcome}[/]: {escape(decision.reason)}"}
    if made.model_path:
        best = (made.best_parameters or {}).items()
        rows |= {
            "best parameters": ", ".join(f"{name} {_short(value)}" for name, value in best),
            "validation accuracy": _short(made.validation_accuracy),
            "test accuracy": f"[bold]{made.test_accuracy:.4f}[/]",
            "model": made.model_path,
        }
        rows |= {"endpoint": made.endpoint} if made.endpoint and serves else {}
        rows |= {"smoke test": smoke_line(made.smoke)} if made.smoke else {}
    seconds = ", ".join(f"{stage} {taken:.1f}" for stage, taken in made.seconds.items())
    rows |= {"report": made.report, "seconds": f"{seconds}; {made.total_seconds:.0f} in all"}
    for name, value in rows.items():
        table.add_row(f"[dim]{name}[/]", value)
    console.print(table)


def answers(answers: Any, labels: Any, classes: Sequence[str]) -> None:
    """Print what a model answered to the first of the test images."""
    table = Table("image", "is", "read as", "probability")
    for index, row in enumerate(answers[:20]):
        read = int(row.argmax())
        colour = "green" if read == labels[index] else "red"
        label, answer = escape(classes[labels[index]]), escape(classes[read])
        table.add_row(str(index), label, f"[{colour}]{answer}[/]", f"{row[read]:.3f}")
    console.print(table)


def checks(checks: list[Check]) -> bool:
    """Print the checks as one table, the remedies of what fails below it; return whether all is well."""
    table = Table("", "check", "found")
    for check in checks:
        table.add_row(f"[{_CHECKS[check.status]}]{check.status}[/]", check.name, check.found)
    console.print(table)
    for check in checks:
        if check.remedy and check.status != "ok":
            console.print(f"[bold]{check.name}[/]:")
            console.print(check.remedy, markup=False, highlight=False, soft_wrap=True)
    return not any(check.status == "fail" for check in checks)


def smoke_line(smoke: Smoke) -> str:
    """Word a smoke test."""
    from hyperflow.evaluation import smoke as smoke_test

    speed = smoke_test.speed(smoke.p50_ms, smoke.p99_ms, smoke.first_ms)
    return f"accuracy {smoke.accuracy:.3f} of {smoke.instances}, {speed}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
