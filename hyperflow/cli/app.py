"""The command line's frame: the app, the options that commands share, and how errors are told."""

from __future__ import annotations

import importlib.metadata
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from hyperflow import __version__, volume
from hyperflow.cli.show import console
from hyperflow.errors import HyperflowError

app = typer.Typer(
    help="Tune, train and serve a model with one pipeline.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip

Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter; may be repeated.")]
Pipeline = Annotated[str, typer.Option(help="A pipeline in build/, or the path of a compiled one.")]
Volume = Annotated[Path | None, typer.Option(help="The volume's folder (or HYPERFLOW_VOLUME).", show_default="volume")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]

_DEFAULT_VOLUME = "volume"
_SHARED = ("share", "hyperflow", "build")
"""Where setup.cfg has the wheel put the compiled pipelines, below the environment's folder."""


def find_pipeline(name: str, *, own: bool = False) -> Path:
    """Find a compiled pipeline by path, or by name in build/ here or beside the package's source.

    Args:
        name: The path or name.
        own: Whether one in build/own/, compiled with a user's own images, goes before.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    here = Path("build") / f"{name}.yaml"
    if own and (compiled := here.parent / "own" / here.name).exists():
        return compiled
    beside = Path(__file__).parents[2] / "build" / here.name
    return next((path for path in (here, beside, _installed(here.name)) if path and path.exists()), beside)


def _installed(file: str) -> Path | None:
    """Return where the wheel has put a compiled pipeline: outside the package, which holds code alone."""
    try:
        installed = importlib.metadata.files("hyperflow") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(each.locate())) for each in installed if each.parts[-4:] == (*_SHARED, file)), None)


def all_values(pipeline: str, assignments: list[str] | None) -> dict[str, Any]:
    """Return the values that a run would get: the compiled pipeline's defaults, and what was set over them."""
    from hyperflow import runner

    path = find_pipeline(pipeline)
    defaults = {name: entry.get("defaultValue") for name, entry in runner.declared(path).items()}
    return {**runner.whole(path, defaults), **runner.read_values(path, assignments or [])}


def use_volume(folder: Path | None) -> None:
    """Choose the volume: the folder given, else HYPERFLOW_VOLUME, else `volume` here."""
    chosen = folder or os.environ.get(volume.ENVIRONMENT) or _DEFAULT_VOLUME
    os.environ[volume.ENVIRONMENT] = str(Path(chosen).absolute())


@contextmanager
def told(debug: bool) -> Iterator[None]:
    """Print an error of ours as its message alone, and exit by its code."""
    if debug:
        os.environ["HYPERFLOW_DEBUG"] = "1"
    try:
        yield
    except HyperflowError as error:
        if debug:
            raise
        Console(stderr=True).print(f"[red]error:[/] {escape(error.told)}", highlight=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from error


def main() -> None:
    """Run the command line, on terminals too that have no other characters than ASCII's."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        console.print(__version__)
        raise typer.Exit
