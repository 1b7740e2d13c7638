"""The command line's side of this machine: run, serve and ask models here."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from hyperflow import volume
from hyperflow.cli import show
from hyperflow.cli.app import Debug, Pipeline, Set, Volume, app, find_pipeline, told, use_volume
from hyperflow.cli.show import console
from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.volume import paths

if TYPE_CHECKING:
    from hyperflow.runner import Request
    from hyperflow.specs import Endpoint

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
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Run a pipeline on this machine, to a tested, served model."""
    from hyperflow import runner
    from hyperflow.runner import schedule

    with told(debug):
        use_volume(folder)
        path = (None if pipeline else runner.pipeline_of(run_id)) or find_pipeline(pipeline or "train_and_serve")
        values = runner.read_values(path, assignments or [])
        keeps = keep_serving or bool(every) or path.stem == _RECURRING
        if not every:
            _run_once(runner.Request(path, values, run_id or runner.new_run_id(), keeps, port))
            return
        span = schedule.seconds(every)
        if run_id:
            raise InvalidParameter("--run-id", run_id, "no id together with --every, as every run has its own")
        schedule.forever(
            span, lambda: _run_once(runner.Request(path, values, runner.new_run_id(), True, port)),
            _say,
        )  # fmt: skip


def _run_once(request: Request) -> None:
    from hyperflow import runner

    what = f"Run [bold]{request.run_id}[/bold] of {request.pipeline.name} on the volume {volume.root()}"
    ended = runner.ended(request.run_id)
    if ended:
        _say_ended(ended)
        return
    console.print(what, highlight=False)
    with show.display() as listener:
        summary = runner.run(request, listener)
    serves = request.keep_serving and summary["endpoint"]
    show.summary({**summary, "endpoint": summary["endpoint"] if serves else None})
    if summary["model_path"] and summary["endpoint"] and not serves:
        _say("The service ended with the run. To serve the model: " + _serving(summary["model_path"]))


def _say_ended(summary: dict[str, Any]) -> None:
    """Say of a run that is asked for again what came of it; nothing is done."""
    console.print(f"Run [bold]{summary['run_id']}[/bold] has ended already; nothing was changed.", highlight=False)
    show.summary({**summary, "endpoint": None})
    if summary["model_path"]:
        _say("To serve its model: " + _serving(summary["model_path"]))


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
def serve(
    model_path: Annotated[Path, typer.Argument(help="Folder of a model, with its version folder inside.")],
    name: Annotated[str, typer.Option(help="The model's name in requests.")] = "fashion-mnist",
    port: Annotated[int, typer.Option(help="Port to serve on.", min=0, max=65535)] = 8080,
    background: Annotated[bool, typer.Option("--background", help="Return once it answers.")] = False,
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Serve a saved model until Ctrl-C, or in the background until `hyperflow stop`."""
    with told(debug):
        use_volume(folder)
        model = model_path.absolute()
        if not any((version / "saved_model.pb").exists() for version in model.glob("[0-9]*")):
            why = "no numbered folder in it has a saved_model.pb"
            raise Unavailable(f"{model} holds no model", why, "correct the path")
        if not background:
            words = [f"--model_name={name}", f"--model_dir={model}", f"--http_port={port}", "--enable_grpc=false"]
            os.execv(sys.executable, [sys.executable, "-P", "-m", "hyperflow.serving", "--host=127.0.0.1", *words])
        from hyperflow.engines.local import KEEP, LocalEngine
        from hyperflow.specs import ModelRef, ServeSpec

        os.environ[KEEP] = "1"
        engine = LocalEngine()
        engine.serve(ServeSpec("by-hand", name, ModelRef(str(model)), port=port))
        endpoint = engine.promote(name)
        console.print(f"{name} answers at {endpoint.url}/v1/models/{name}:predict", highlight=False)


@app.command()
def predict(
    name: Annotated[str, typer.Argument(help="The service.")] = "fashion-mnist",
    url: Annotated[str, typer.Option(help="Base URL; by default that of the service on this machine.")] = "",
    host: Annotated[str, typer.Option(help="The service's own host, where --url is an ingress.")] = "",
    instances: Annotated[int, typer.Option(help="Labelled test images to send.", min=1, max=10_000)] = 200,
    accuracy_floor: Annotated[float, typer.Option(help="Least share of them to be read right.", min=0, max=1)] = 0.0,
    p99_ms: Annotated[float, typer.Option(help="Most milliseconds for 99 % of them.", min=0.001)] = 3_600_000.0,
    timeout: Annotated[float, typer.Option(help="Seconds for one answer.", min=0.1)] = 30.0,
    dataset: Annotated[str, typer.Option(help="The data set whose test images are sent.")] = "fashion-mnist",
    source: Annotated[str, typer.Option(help="Where to load it from if the volume has none.")] = "auto",
    report: Annotated[Path | None, typer.Option(help="Write images, labels and answers to this HTML file.")] = None,
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Send labelled test images to a served model, show its answers, and exit 1 where they do not do.

    A token or a session cookie that an ingress asks for comes from HYPERFLOW_TOKEN or HYPERFLOW_COOKIE (a value, or @
    and a file's path), never from the command line, where other users of the machine could read it.
    """
    from hyperflow import client, datasets
    from hyperflow import report as pages
    from hyperflow.evaluation import smoke

    with told(debug):
        use_volume(folder)
        endpoint, access = client.reach(name, url, host) if url or host else (_served_here(name), client.Access())
        tested = datasets.load(source, dataset)
        chosen = smoke.choose(tested, instances)
        images, labels = tested.images("test")[chosen], tested.labels("test")[chosen]
        result = smoke.run(endpoint, images, labels, access, timeout)
        show.answers(result.answers, labels, tested.classes)
        console.print(show.smoke_line(vars(result)))
        if report:
            pages.write(str(report), "Answers", [pages.answers(images, labels, result.answers, tested.classes)])
            console.print(f"written to {report}", highlight=False)
        smoke.judge(result, accuracy_floor, p99_ms)


def _served_here(name: str) -> Endpoint:
    from hyperflow.engines.local import LocalEngine

    engine = LocalEngine()
    endpoint = engine.serving(name)
    if endpoint is None:
        raise Unavailable(
            f"no service {name!r} runs here", engine.fault(name), "start one with `hyperflow serve`, or give --url"
        )
    return endpoint


@app.command()
def stop(
    name: Annotated[str, typer.Argument(help="The service; all of them if none is named.")] = "",
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """End services that were left running."""
    from hyperflow.engines.local import LocalEngine

    with told(debug):
        use_volume(folder)
        stopped = LocalEngine().stop(name)
        console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing runs")


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
        str, typer.Option(envvar="HYPERFLOW_DATASET", help="The data set whose test images can be picked.")
    ] = "fashion-mnist",
    source: Annotated[
        str, typer.Option(envvar="HYPERFLOW_DATA_SOURCE", help="Where to load it from if need be; or `none`.")
    ] = "auto",
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Serve a page on which to try a model: pick a test image, draw one or upload one."""
    from hyperflow import demo as page

    with told(debug):
        use_volume(folder)
        page.main(url or _served_here(name).url, name, host=host, port=port, dataset=dataset, source=source)


@app.command()
def runs(folder: Volume = None, debug: Debug = False) -> None:
    """List the runs on the volume."""
    with told(debug):
        use_volume(folder)
        table = Table("run", "ended", "test accuracy", "decision", "seconds")
        for path in sorted(paths.all_runs().glob("*"), key=_last_change, reverse=True):
            summary = _read_summary(path)
            if summary is None:
                table.add_row(path.name, "[yellow]not ended[/]", "", "", "")
                continue
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(paths.run_summary(path.name).stat().st_mtime))
            accuracy, outcome = summary["test_accuracy"], summary["decision"]["outcome"]
            shown = "" if accuracy is None else f"{accuracy:.4f}"
            table.add_row(path.name, when, shown, outcome, f"{summary['total_seconds']:.0f}")
        console.print(table)


def _last_change(folder: Path) -> float:
    """Return when a run ended, or last gave a sign of life."""
    signs = [paths.run_summary(folder.name), paths.run_log(folder.name), folder]
    return next((sign.stat().st_mtime for sign in signs if sign.exists()), 0.0)


def _read_summary(folder: Path) -> dict[str, Any] | None:
    try:
        summary: dict[str, Any] = json.loads(paths.run_summary(folder.name).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return summary
