"""The command line's side of an MLflow server: `hyperflow sync`, and what `hyperflow run` does at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from hyperflow.cli.app import Debug, Volume, app, told, use_volume
from hyperflow.cli.show import console
from hyperflow.errors import HyperflowError
from hyperflow.volume import notices, records
from hyperflow.volume.records import Asked

if TYPE_CHECKING:
    from hyperflow.runner import Request


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
        with suppress(HyperflowError):  # a volume that can only be read is enough
            notices.keep(run_id, "tracking_uri", "")
        console.print(
            escape(f"run {run_id} is the MLflow run {made} of {tracking_uri}"), highlight=False, soft_wrap=True
        )


@contextmanager
def written_down(request: Request) -> Iterator[None]:
    """Do what is wanted at a run's end once the block has ended, well or badly; where that fails, it is a warning.

    The steps have done so at their ends; this adds the report, and how a run ended whose step could not say so.
    """
    from hyperflow.steps import endings

    def given() -> dict[str, Any]:
        asked = records.read(request.run_id, Asked)
        return {**(asked.values if asked else {}), **request.values}

    with endings.after(request.run_id, given, _warn, last=True):
        yield


def _warn(text: str) -> None:
    Console(stderr=True).print(f"[yellow]warning:[/] {escape(text)}", highlight=False, soft_wrap=True)
