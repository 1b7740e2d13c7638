"""The command line's side of this machine: run pipelines here, and look at what was run."""

from __future__ import annotations

import json
import shlex
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from hyperflow import volume
from hyperflow.cli import show, spans
from hyperflow.cli.app import Debug, Pipeline, Set, Volume, app, find_pipeline, told, use_volume
from hyperflow.cli.show import console
from hyperflow.errors import InvalidParameter
from hyperflow.volume import paths

if TYPE_CHECKING:
    from hyperflow.runner import Request
    from hyperflow.volume.summary import Summary

_RECURRING = "retrain"
"""The pipeline that replaces what runs, so that its service always stays."""


@app.command()
def run(
    assignments: Set = None,
    pipeline: Annotated[
        str, typer.Option(help="A pipeline in build/, or the path of a compiled one.", show_default="train_and_serve")
    ] = "",
    run_id: Annotated[str, typer.Option(help="Go on with this run, or give a new one this id.")] = "",
    keep_serving: Annotated[bool, typer.Option("--keep-serving", help="Leave the service running at the end.")] = False,
    port: Annotated[int, typer.Option(help="Port to serve on; 0 for any free one.", min=0, max=65535)] = 0,
    every: Annotated[str, typer.Option(help="Run again and again: 30m, 6h, 1d; keeps the service running.")] = "",
    look: Annotated[bool, typer.Option("--open", help="Open the report at the end.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Show trials, curves and stages on a page as they come.")
    ] = False,
    live_port: Annotated[
        int, typer.Option(help="Port of that page, on this machine alone; 0 for any free one.", min=0, max=65535)
    ] = 0,
    tracking_uri: Annotated[str, typer.Option(help="An MLflow server; short for --set tracking_uri=…")] = "",
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Run a pipeline on this machine, to a tested, served model."""
    from hyperflow import runner
    from hyperflow.runner import schedule

    with told(debug):
        use_volume(folder)
        path = (None if pipeline else runner.pipeline_of(run_id)) or find_pipeline(pipeline or "train_and_serve")
        short = [f"tracking_uri={tracking_uri}"] if tracking_uri else []
        values = runner.read_values(path, [*(assignments or []), *short])
        keeps = keep_serving or bool(every) or path.stem == _RECURRING
        page = live_port if live or live_port else None

        def asked(run_id: str, keeps: bool) -> Request:
            return runner.Request(path, values, run_id, keeps, port)

        if not every:
            report = _run_once(asked(run_id or runner.new_run_id(), keeps), page)
            if look:
                webbrowser.open(Path(report).as_uri())
            return
        span = spans.seconds(every)
        if run_id:
            raise InvalidParameter("--run-id", run_id, "no id together with --every, as every run has its own")
        schedule.forever(
            span, lambda: _run_once(asked(runner.new_run_id(), True), page),
            _say,
        )  # fmt: skip


def _run_once(request: Request, page: int | None = None) -> str:
    """Run once, write it down where that is wanted, and return the report's place.

    Args:
        request: The run.
        page: Port of a page that shows it while it goes, 0 for any; None for no page.
    """
    from hyperflow.cli import tracking  # late: its command comes after these in --help

    with tracking.written_down(request):
        return _run(request, page)


def _run(request: Request, page: int | None) -> str:
    """Run, say what it came to, and return the report's place."""
    from hyperflow import runner
    from hyperflow.volume import summary

    what = f"Run [bold]{request.run_id}[/bold] of {request.pipeline.name} on the volume {volume.root()}"
    ended = summary.read(request.run_id)
    if ended:
        _say_ended(ended)
        return ended.report
    console.print(what, highlight=False)
    if page is None:
        with show.display() as listener:
            made = runner.run(request, listener)
    else:
        with runner.watched(request, page) as (live, address):
            _say(f"It can be watched at {address}")
            with show.display() as listener:
                made = runner.run(request, live.listener(listener))
    show.summary(made, serves=request.keep_serving)
    if made.model_path and made.endpoint and not request.keep_serving:
        _say("The service ended with the run. To serve the model: " + _serving(made.model_path))
    return made.report


def _say_ended(ended: Summary) -> None:
    """Say of a run that is asked for again what came of it; nothing is done."""
    console.print(f"Run [bold]{ended.run_id}[/bold] has ended already; nothing was changed.", highlight=False)
    show.summary(ended, serves=False)
    if ended.model_path:
        _say("To serve its model: " + _serving(ended.model_path))


def _serving(model_path: str) -> str:
    return shlex.join(["hyperflow", "serve", model_path])


def _say(text: str) -> None:
    """Print a line as it is: commands in it are whole, and can be copied."""
    console.print(escape(text), highlight=False, soft_wrap=True)


@app.command()
def parameters(pipeline: Pipeline = "train_and_serve", debug: Debug = False) -> None:
    """List a pipeline's parameters, their defaults and meanings."""
    from hyperflow import runner

    with told(debug):
        path = find_pipeline(pipeline)
        table = Table(Column("parameter", no_wrap=True), Column("default", overflow="fold"), "meaning")
        declared = runner.declared(path)
        defaults = runner.whole(path, {name: entry.get("defaultValue") for name, entry in declared.items()})
        for name, default in defaults.items():
            table.add_row(name, escape(json.dumps(default)), escape(declared[name].get("description", "")))
        console.print(table)


@app.command()
def demo(
    url: Annotated[
        str, typer.Option(envvar="HYPERFLOW_PREDICTOR_URL", help="Base URL of the predictor; by default the one here.")
    ] = "",
    name: Annotated[str, typer.Option(envvar="HYPERFLOW_MODEL_NAME", help="The model's name.")] = "fashion-mnist",
    host: Annotated[str, typer.Option(envvar="HYPERFLOW_PAGE_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="HYPERFLOW_PAGE_PORT", help="Port of the page; 0 for any.", min=0, max=65535)
    ] = 7860,
    dataset: Annotated[
        str,
        typer.Option(
            envvar="HYPERFLOW_DATASET", help="The data set whose test images can be picked.", show_default="the model's"
        ),
    ] = "",
    source: Annotated[
        str, typer.Option(envvar="HYPERFLOW_DATA_SOURCE", help="Where to load it from if need be; or `none`.")
    ] = "auto",
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Serve a page on which to try a model: pick a test image, draw one or upload one."""
    from hyperflow import demo as page
    from hyperflow.cli.models import DEFAULT, made_from, served_here

    with told(debug):
        use_volume(folder)
        endpoint = None if url else served_here(name)
        known = made_from(endpoint) if endpoint and not dataset else None
        chosen = dataset or (known.name if known else DEFAULT)
        page.main(endpoint.url if endpoint else url, name, host=host, port=port, dataset=chosen, source=source)


@app.command()
def runs(
    html: Annotated[bool, typer.Option("--html", help="Write a page of them, to be searched and compared.")] = False,
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """List the runs on the volume, the newest first."""
    from hyperflow.report import index
    from hyperflow.volume import summary

    with told(debug):
        use_volume(folder)
        if html:
            _say(f"written to {index.write()}")
            return
        table = Table("run", "ended", "test accuracy", "decision", "seconds")
        for run_id in index.newest_first():
            made = summary.read(run_id)
            if made is None:
                table.add_row(run_id, "[yellow]not ended[/]", "", "", "")
                continue
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(paths.run_summary(run_id).stat().st_mtime))
            shown = "" if made.test_accuracy is None else f"{made.test_accuracy:.4f}"
            table.add_row(run_id, when, shown, made.decision.outcome, f"{made.total_seconds:.0f}")
        console.print(table)
