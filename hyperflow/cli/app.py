"""The command line: `hyperflow run`, `serve`, `predict`, `stop`, `runs`, `parameters`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from hyperflow import __version__, volume
from hyperflow.errors import HyperflowError, InvalidParameter, Unavailable
from hyperflow.parameters import Parameters
from hyperflow.progress import Progress as Forward
from hyperflow.volume import paths

if TYPE_CHECKING:
    from hyperflow.runner import Request
    from hyperflow.specs import Endpoint

app = typer.Typer(
    help="Tune, train and serve a model with one pipeline.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip
# a pipe or a log has no width: leave paths whole there
console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter; may be repeated.")]
Pipeline = Annotated[str, typer.Option(help="A pipeline in build/, or the path of a compiled one.")]
Volume = Annotated[Path | None, typer.Option(help="The volume's folder (or HYPERFLOW_VOLUME).", show_default="volume")]
Namespace = Annotated[str, typer.Option(help="The namespace; by default the current one.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]

_DEFAULT_VOLUME = "volume"
_RECURRING = "retrain"
"""The pipeline that replaces what runs, so that its service always stays."""

_COLOURS = {"deployed": "green", "refused": "yellow", "skipped": "yellow"}


@app.command()
def run(
    assignments: Set = None,
    pipeline: Pipeline = "train_and_serve",
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

    with _told(debug):
        _use_volume(folder)
        path = find_pipeline(pipeline)
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
            lambda text: console.print(_escape(text), highlight=False, soft_wrap=True),
        )  # fmt: skip


def _run_once(request: Request) -> None:
    from hyperflow import runner

    what = f"Run [bold]{request.run_id}[/bold] of {request.pipeline.name} on the volume {volume.root()}"
    console.print(what, highlight=False)
    with _display() as listener:
        summary = runner.run(request, listener)
    _show_summary(summary)
    if summary["endpoint"] and not request.keep_serving:
        console.print(f"The service ended with the run. To serve the model: hyperflow serve {summary['model_path']}")


@app.command()
def parameters(pipeline: Pipeline = "train_and_serve", debug: Debug = False) -> None:
    """List a pipeline's parameters, their defaults and meanings."""
    from hyperflow import runner

    with _told(debug):
        table = Table("parameter", "default", "meaning")
        for name, entry in runner.declared(find_pipeline(pipeline)).items():
            table.add_row(name, json.dumps(entry.get("defaultValue")), entry.get("description", ""))
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
    with _told(debug):
        _use_volume(folder)
        model = model_path.absolute()
        if not any((version / "saved_model.pb").exists() for version in model.glob("[0-9]*")):
            why = "no numbered folder in it has a saved_model.pb"
            raise Unavailable(f"{model} holds no model", why, "correct the path")
        if not background:
            words = [f"--model_name={name}", f"--model_dir={model}", f"--http_port={port}", "--enable_grpc=false"]
            os.execv(sys.executable, [sys.executable, "-m", "hyperflow.serving", "--host=127.0.0.1", *words])
        from hyperflow.engines.local.services import KEEP, Services
        from hyperflow.specs import ModelRef, ServeSpec

        os.environ[KEEP] = "1"
        services = Services(paths.services())
        services.stage(ServeSpec("by-hand", name, ModelRef(str(model)), port=port))
        endpoint = services.promote(name)
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

    with _told(debug):
        _use_volume(folder)
        endpoint, access = client.reach(name, url, host) if url or host else (_served_here(name), client.Access())
        tested = datasets.load(source, dataset)
        chosen = smoke.choose(tested, instances)
        images, labels = tested.images("test")[chosen], tested.labels("test")[chosen]
        result = smoke.run(endpoint, images, labels, access, timeout)
        _show_answers(result.answers, labels, tested.classes)
        console.print(_smoke_line(vars(result)))
        if report:
            pages.write(str(report), "Answers", [pages.answers(images, labels, result.answers, tested.classes)])
            console.print(f"written to {report}", highlight=False)
        smoke.judge(result, accuracy_floor, p99_ms)


def _served_here(name: str) -> Endpoint:
    from hyperflow.engines.local.services import Services

    services = Services(paths.services())
    endpoint = services.serving(name)
    if endpoint is None:
        failed = services.read(name).failed
        why = f"its first deployment failed: {failed.reason}; the log is {failed.log}" if failed else ""
        raise Unavailable(f"no service {name!r} runs here", why, "start one with `hyperflow serve`, or give --url")
    return endpoint


def _show_answers(answers: Any, labels: Any, classes: Sequence[str]) -> None:
    table = Table("image", "is", "read as", "probability")
    for index, row in enumerate(answers[:20]):
        read = int(row.argmax())
        colour = "green" if read == labels[index] else "red"
        table.add_row(str(index), classes[labels[index]], f"[{colour}]{classes[read]}[/]", f"{row[read]:.3f}")
    console.print(table)


@app.command()
def stop(
    name: Annotated[str, typer.Argument(help="The service; all of them if none is named.")] = "",
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """End services that were left running."""
    from hyperflow.engines.local.services import Services

    with _told(debug):
        _use_volume(folder)
        services = Services(paths.services())
        stopped = [each for each in ([name] if name else services.names()) if services.stop(each)]
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

    with _told(debug):
        _use_volume(folder)
        page.main(url or _served_here(name).url, name, host=host, port=port, dataset=dataset, source=source)


@app.command()
def runs(folder: Volume = None, debug: Debug = False) -> None:
    """List the runs on the volume."""
    with _told(debug):
        _use_volume(folder)
        table = Table("run", "ended", "test accuracy", "decision", "seconds")
        for path in sorted(paths.all_runs().glob("*")):
            summary = _read_summary(path)
            if summary is None:
                table.add_row(path.name, "[yellow]not ended[/]", "", "", "")
                continue
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(paths.run_summary(path.name).stat().st_mtime))
            accuracy, outcome = summary["test_accuracy"], summary["decision"]["outcome"]
            shown = "" if accuracy is None else f"{accuracy:.4f}"
            table.add_row(path.name, when, shown, outcome, f"{summary['total_seconds']:.0f}")
        console.print(table)


@app.command()
def render(
    assignments: Set = None,
    pipeline: Pipeline = "train_and_serve",
    run_id: Annotated[str, typer.Option(help="The run's id.")] = "example",
    kserve_version: Annotated[str, typer.Option(help="Version of the cluster's KServe.")] = "0.21",
    kserve_mode: Annotated[str, typer.Option(help="Standard or Knative.")] = "Standard",
    debug: Debug = False,
) -> None:
    """Print the Experiment, TFJob and InferenceService that a run would create, without a cluster."""
    with _told(debug):
        from hyperflow.cli import cluster

        values = _all_values(pipeline, assignments)
        print(cluster.render(Parameters.complete(values), run_id, kserve_version, kserve_mode), end="")


@app.command()
def preflight(
    assignments: Set = None,
    pipeline: Pipeline = "train_and_serve",
    namespace: Namespace = "",
    debug: Debug = False,
) -> None:
    """Look at everything that a run needs of a cluster's namespace; exit 1 where something is missing."""
    with _told(debug):
        from hyperflow.cli import cluster

        checks = cluster.survey(namespace, Parameters.complete(_all_values(pipeline, assignments)))
        if not cluster.show(checks, console):
            raise typer.Exit(1)


@app.command()
def reap(namespace: Namespace = "", debug: Debug = False) -> None:
    """Delete the jobs that runs which have ended left in a cluster's namespace."""
    with _told(debug):
        from hyperflow.cli import cluster

        for name in cluster.reap_namespace(namespace):
            console.print(f"deleted {name}", highlight=False)


def find_pipeline(name: str) -> Path:
    """Find a compiled pipeline by path, or by name in build/ here or beside the package's source."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    here = Path("build") / f"{name}.yaml"
    return here if here.exists() else Path(__file__).parents[2] / "build" / f"{name}.yaml"


def main() -> None:
    """Run the command line."""
    app()


@contextmanager
def _told(debug: bool) -> Iterator[None]:
    """Print an error of ours as its message alone, and exit by its code."""
    if debug:
        os.environ["HYPERFLOW_DEBUG"] = "1"
    try:
        yield
    except HyperflowError as error:
        if debug:
            raise
        Console(stderr=True).print(f"[red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from error


@contextmanager
def _display() -> Iterator[Any]:
    """Show stages and progress: bars in a terminal, a line a change elsewhere."""
    from hyperflow.runner import Listener

    out = sys.stdout  # a run redirects it to catch what the steps print
    if not console.is_terminal:

        def say(text: object) -> None:
            print(text, file=out, flush=True)

        yield Listener(lambda stage: say(f"{stage} …"), say)
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description:<10}"), BarColumn(20),
        MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[text]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=Console(file=out)) as bars:
        shown = _Bars(bars)
        yield Listener(shown.stage, shown.progress)
        shown.finish()


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

    def finish(self) -> None:
        if self._current is not None:
            total = self._bars.tasks[-1].total or 1
            self._bars.update(self._current, total=total, completed=total)


def _show_summary(summary: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")
    smoke, decision = summary["smoke"], summary["decision"]
    rows = {"decision": f"[{_COLOURS[decision['outcome']]}]{decision['outcome']}[/]: {_escape(decision['reason'])}"}
    if summary["model_path"]:
        rows |= {
            "best parameters": ", ".join(
                f"{name} {_short(value)}" for name, value in summary["best_parameters"].items()
            ),
            "validation accuracy": _short(summary["validation_accuracy"]),
            "test accuracy": f"[bold]{summary['test_accuracy']:.4f}[/]",
            "model": summary["model_path"],
            "endpoint": summary["endpoint"] or "none",
            "smoke test": _smoke_line(smoke) if smoke else "none",
        }
    rows |= {
        "report": summary["report"],
        "seconds": ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in summary["seconds"].items())
        + f"; {summary['total_seconds']:.0f} in all",
    }
    for name, value in rows.items():
        table.add_row(f"[dim]{name}[/]", value)
    console.print(table)


def _smoke_line(smoke: dict[str, Any]) -> str:
    speed = f"p50 {smoke['p50_ms']:.1f} ms, p99 {smoke['p99_ms']:.1f} ms"
    return f"accuracy {smoke['accuracy']:.3f} of {smoke['instances']}, {speed}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _all_values(pipeline: str, assignments: list[str] | None) -> dict[str, Any]:
    """Return the values that a run would get: the compiled pipeline's defaults, and what was set over them."""
    from hyperflow import runner

    path = find_pipeline(pipeline)
    defaults = {name: entry.get("defaultValue") for name, entry in runner.declared(path).items()}
    return {**runner.whole(path, defaults), **runner.read_values(path, assignments or [])}


def _read_summary(folder: Path) -> dict[str, Any] | None:
    try:
        summary: dict[str, Any] = json.loads(paths.run_summary(folder.name).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return summary


def _use_volume(folder: Path | None) -> None:
    chosen = folder or os.environ.get(volume.ENVIRONMENT) or _DEFAULT_VOLUME
    os.environ[volume.ENVIRONMENT] = str(Path(chosen).absolute())


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit
