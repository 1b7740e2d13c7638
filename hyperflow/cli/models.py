"""The command line's side of served models: serve one here, ask one anywhere, end what runs."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from hyperflow import volume
from hyperflow.cli import show
from hyperflow.cli.app import Debug, Volume, app, told, use_volume
from hyperflow.cli.show import console
from hyperflow.errors import InvalidParameter, JobFailed, Unavailable
from hyperflow.volume import cards, paths

if TYPE_CHECKING:
    from hyperflow.datasets import Dataset
    from hyperflow.specs import Endpoint

DEFAULT = "fashion-mnist"


@app.command()
def serve(
    model_path: Annotated[Path, typer.Argument(help="Folder of a model, with its version folder inside.")],
    name: Annotated[str, typer.Option(help="The model's name in requests.")] = "fashion-mnist",
    port: Annotated[int, typer.Option(help="Port to serve on.", min=0, max=65535)] = 8080,
    background: Annotated[bool, typer.Option("--background", help="Return once it answers.")] = False,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port to serve gRPC on too, in the foreground.", min=1, max=65535)
    ] = None,
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Serve a saved model until Ctrl-C, or in the background until `hyperflow stop`."""
    with told(debug):
        use_volume(folder)
        model = model_path.absolute()
        if not any(paths.is_model(version) for version in model.glob("[0-9]*")):
            why = f"no numbered folder in it has a {paths.SAVED_MODEL} or {paths.ONNX}"
            raise Unavailable(f"{model} holds no model", why, "correct the path")
        if not background:
            raise typer.Exit(_serve_until_told(name, model, port, grpc_port))
        if grpc_port:
            raise InvalidParameter("--grpc-port", grpc_port, "it without --background, or leave it out")
        from hyperflow.engines.local import KEEP, LocalEngine
        from hyperflow.specs import ModelRef, ServeSpec

        os.environ[KEEP] = "1"
        engine = LocalEngine()
        engine.serve(ServeSpec("by-hand", name, ModelRef(str(model)), port=port))
        endpoint = engine.promote(name)
        _say_where(name, endpoint.url, model)


@app.command()
def predict(
    name: Annotated[str, typer.Argument(help="The service.")] = "fashion-mnist",
    url: Annotated[str, typer.Option(help="Base URL; by default that of the service on this machine.")] = "",
    host: Annotated[str, typer.Option(help="The service's own host, where --url is an ingress.")] = "",
    instances: Annotated[int, typer.Option(help="Labelled test images to send.", min=1, max=10_000)] = 200,
    accuracy_floor: Annotated[float, typer.Option(help="Least share of them to be read right.", min=0, max=1)] = 0.0,
    p99_ms: Annotated[float, typer.Option(help="Most milliseconds for 99 % of them.", min=0.001)] = 3_600_000.0,
    timeout: Annotated[float, typer.Option(help="Seconds for one answer.", min=0.1)] = 30.0,
    dataset: Annotated[
        str, typer.Option(help="The data set whose test images are sent.", show_default="the model's")
    ] = "",
    source: Annotated[str, typer.Option(help="Where to load it from if the volume has none.")] = "auto",
    report: Annotated[Path | None, typer.Option(help="Write images, labels and answers to this HTML file.")] = None,
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Send labelled test images to a served model, show its answers, and exit 1 where they do not do.

    A token or a session cookie that an ingress asks for comes from HYPERFLOW_TOKEN or HYPERFLOW_COOKIE (a value, or @
    and a file's path), never from the command line, where other users of the machine could read it.
    """
    from hyperflow import client
    from hyperflow import report as pages
    from hyperflow.evaluation import smoke
    from hyperflow.volume.summary import Smoke

    with told(debug):
        use_volume(folder)
        endpoint, access = client.reach(name, url, host) if url or host else (served_here(name), client.Access())
        tested = _test_data(endpoint, dataset, source)
        chosen = smoke.choose(tested, instances)
        images, labels = tested.images("test")[chosen], tested.labels("test")[chosen]
        result = smoke.run(endpoint, images, labels, access, timeout)
        smoke.check_classes(result, tested)
        show.answers(result.answers, labels, tested.classes)
        console.print(show.smoke_line(Smoke(**smoke.figures(result))))
        if report:
            pages.write(str(report), "Answers", [pages.answers(images, labels, result.answers, tested.classes)])
            console.print(f"written to {report}", highlight=False)
        card = cards.read(Path(endpoint.model.path))
        smoke.judge(result, accuracy_floor, p99_ms, card.accuracy if card else 0.0)


@app.command()
def drift(
    payloads: Annotated[
        Path, typer.Argument(help="Folder into which a predictor logs its payloads.", exists=True, file_okay=False)
    ],
    dataset: Annotated[str, typer.Option(help="The data set that the model learnt from, on the volume.")] = DEFAULT,
    most: Annotated[float, typer.Option(help="Most that the statistic may be.", min=0, max=1)] = 1.0,
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Compare the pictures that users sent last with those a model learnt from; exit 1 where they differ too much.

    The statistic is the largest of two-sample Kolmogorov-Smirnov tests in 16 random projections of the pixels: 0 for
    equal distributions, 1 for ones that share nothing. The payloads are those of `--log_payloads FOLDER`.
    """
    from hyperflow.evaluation import inputs

    with told(debug):
        use_volume(folder)
        known = stored(dataset)
        found = inputs.look(payloads, known.images("train"))
        console.print(found.text, highlight=False)
        if found.statistic > most:
            what = f"what users send is not what {dataset} has"
            raise JobFailed(what, f"the statistic is {found.statistic:.3f}, and --most is {most:g}", inputs.REMEDY)


def stored(dataset: str) -> Dataset:
    """Return the newest state of a data set of the volume.

    Raises:
        Unavailable: The volume has none of that name.
    """
    from hyperflow import datasets

    known = datasets.newest(dataset)
    if known is None:
        what, why = f"the volume has no data set {dataset!r}", f"{volume.root()} was looked at"
        raise Unavailable(what, why, "give --dataset or --folder; `hyperflow run` puts data sets on a volume")
    return known


def served_here(name: str) -> Endpoint:
    """Return the service of this machine.

    Raises:
        Unavailable: None of that name runs.
    """
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


def made_from(endpoint: Endpoint) -> Dataset | None:
    """Return the data set that a served model was made from, as its card says; None where that is not known here."""
    from hyperflow import datasets

    card = cards.read(Path(endpoint.model.path))
    return datasets.of_digest(card.data) if card else None


def _test_data(endpoint: Endpoint, dataset: str, source: str) -> Dataset:
    """Return the data set to test a served model with: what it was made from, or that of the same name."""
    from hyperflow import datasets

    known = made_from(endpoint)
    if known and dataset in ("", known.name):
        return known
    if known:
        raise InvalidParameter("--dataset", dataset, f"{known.name}, which the model was made from")
    return datasets.newest(dataset or DEFAULT) or datasets.load(source, dataset or DEFAULT)


def _serve_until_told(name: str, model: Path, port: int, grpc_port: int | None) -> int:
    """Run the predictor until Ctrl-C; say where it answers once it does. Return its exit code."""
    from hyperflow.engines.local import guarded

    with tempfile.TemporaryDirectory(prefix="hyperflow-") as folder:
        ready = Path(folder) / "ready.json"
        words = [f"--model_name={name}", f"--model_dir={model}", "--host=127.0.0.1", f"--http_port={port}"]
        words += [f"--grpc_port={grpc_port}"] if grpc_port else ["--enable_grpc=false"]
        process = subprocess.Popen(
            guarded([sys.executable, "-P", "-m", "hyperflow.serving", *words, f"--ready_file={ready}"]),
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, start_new_session=True,
        )  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: process.terminate())
        while process.poll() is None and not ready.exists():
            time.sleep(0.05)
        if process.poll() is None:
            ports = json.loads(ready.read_text(encoding="utf-8"))
            _say_where(name, f"http://127.0.0.1:{ports['http_port']}", model)
            if grpc_port:
                console.print(f"gRPC at 127.0.0.1:{ports['grpc_port']}", highlight=False)
        return process.wait()


def _say_where(name: str, url: str, model: Path) -> None:
    """Say where a model answers, and how to ask it for a real image where there is one."""
    from hyperflow import datasets

    address = f"{url}/v1/models/{name}:predict"
    console.print(f"{name} answers at {address}", highlight=False, soft_wrap=True)
    card = cards.read(model)
    dataset = datasets.of_digest(card.data) if card else None
    if dataset is None:
        return
    request = paths.example_request(name)
    image = dataset.images("test")[0].reshape(-1).tolist()
    volume.write_text(request, json.dumps({"instances": [{"flatten_input": image}]}))
    label = dataset.classes[int(dataset.labels("test")[0])]
    command = shlex.join(["curl", address, "-d", f"@{request}"])
    console.print(escape(f"ask it, for a picture of {label}: {command}"), highlight=False, soft_wrap=True)
