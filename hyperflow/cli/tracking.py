"""The command line's side of MLflow and the Model Registry: `hyperflow sync`, and the end of `hyperflow run`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from hyperflow.cli.app import Debug, Volume, app, told, use_volume
from hyperflow.cli.show import console
from hyperflow.errors import HyperflowError, InvalidParameter
from hyperflow.volume import notices

if TYPE_CHECKING:
    from hyperflow.runner import Request


@app.command()
def sync(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run; `hyperflow runs` lists them.")],
    tracking_uri: Annotated[str, typer.Option(help="The MLflow server's base URL.")] = "",
    model_registry: Annotated[str, typer.Option(help="The Kubeflow Model Registry's base URL.")] = "",
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Write a run down on an MLflow server, or its model in a Model Registry; exit 1 where that fails.

    Only what is not there yet is written. Credentials come from MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; and from MODEL_REGISTRY_TOKEN.
    """
    with told(debug):
        if not (tracking_uri or model_registry):
            raise InvalidParameter("--tracking-uri", "", "a server's address, or --model-registry with one")
        use_volume(folder)
        if tracking_uri:
            _say(run_id, "tracking_uri", _track(run_id, tracking_uri))
        if model_registry:
            _say(run_id, "model_registry", _register(run_id, model_registry))


def _track(run_id: str, address: str) -> str:
    from hyperflow import tracking

    return f"run {run_id} is the MLflow run {tracking.sync(run_id, tracking.Server(address))} of {address}"


def _register(run_id: str, address: str) -> str:
    from hyperflow.tracking.registry import Registry
    from hyperflow.tracking.versions import sync

    made = sync(run_id, Registry(address))
    if made:
        return f"version {run_id} in {address}: {made}"
    return f"run {run_id} has deployed no model, so {address} has no version of it"


def _say(run_id: str, subject: str, text: str) -> None:
    with suppress(HyperflowError):  # a volume that can only be read is enough
        notices.keep(run_id, subject, "")
    console.print(escape(text), highlight=False, soft_wrap=True)


@contextmanager
def written_down(request: Request) -> Iterator[None]:
    """Do what is wanted at a run's end once the block has ended, well or badly; where that fails, it is a warning.

    The steps have done so at their ends; this adds the report, and how a run ended whose step could not say so.
    """
    from hyperflow.steps import endings

    with endings.after(request.run_id, _warn, request.values, last=True):
        yield


def _warn(text: str) -> None:
    Console(stderr=True).print(f"[yellow]warning:[/] {escape(text)}", highlight=False, soft_wrap=True)
