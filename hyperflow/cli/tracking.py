"""The command line's side of an MLflow server: `hyperflow sync`, and what `hyperflow run` does at its end."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from hyperflow import client, volume
from hyperflow.cli.app import Debug, Volume, app, told, use_volume
from hyperflow.cli.show import console
from hyperflow.errors import Cancelled, HyperflowError
from hyperflow.volume import records
from hyperflow.volume.records import Asked

_SECONDS, _TOTAL = 5.0, 30.0  # that a run's end may wait for one answer, and for all of them


@app.command()
def sync(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run; `hyperflow runs` lists them.")],
    tracking_uri: Annotated[str, typer.Option(help="The MLflow server's base URL.")],
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Write a run down on an MLflow server, as far as it is not there yet; exit 1 where that fails.

    Credentials come from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.
    """
    with told(debug):
        use_volume(folder)
        from hyperflow import tracking

        made = tracking.sync(run_id, tracking.Server(tracking_uri))
        console.print(
            escape(f"run {run_id} is the MLflow run {made} of {tracking_uri}"), highlight=False, soft_wrap=True
        )


def check(tracking_uri: str) -> None:
    """Refuse what is not the address of a server.

    Raises:
        InvalidParameter: It is not.
    """
    client.check_url("--tracking-uri", tracking_uri)


@contextmanager
def written_down(run_id: str, tracking_uri: str) -> Iterator[None]:
    """Write a run down once the block has ended, well or badly; where that fails, it is a warning and no more."""
    killed = False
    try:
        yield
    except (Cancelled, KeyboardInterrupt):
        killed = True
        raise
    finally:
        if records.read(run_id, Asked):  # one that was refused has not begun
            _write_down(run_id, tracking_uri, killed)


def _write_down(run_id: str, tracking_uri: str, killed: bool) -> None:
    try:
        from hyperflow import tracking

        tracking.sync(run_id, tracking.Server(tracking_uri, seconds=_SECONDS, total=_TOTAL), killed)
    except Exception as error:  # whatever goes wrong here, the run is what it was
        why = str(error) if isinstance(error, HyperflowError) else f"{type(error).__name__}: {error}"
        words = ["hyperflow", "sync", run_id, "--tracking-uri", tracking_uri, "--folder", str(volume.root())]
        text = f"run {run_id} is not written down on the MLflow server: {why}\n  to do so: {shlex.join(words)}"
        Console(stderr=True).print(f"[yellow]warning:[/] {escape(text)}", highlight=False, soft_wrap=True)
