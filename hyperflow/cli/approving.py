"""The command line's side of a person's yes: `hyperflow approve`, `reject` and `approvals`, here and on a cluster."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markdown import Markdown
from rich.markup import escape

from hyperflow import volume
from hyperflow.cli.app import Debug, Volume, app, told, use_volume
from hyperflow.cli.cluster import Namespace
from hyperflow.cli.show import console
from hyperflow.errors import Unavailable
from hyperflow.specs import Answer, check_run_id
from hyperflow.specs.approval import moment

if TYPE_CHECKING:
    from hyperflow.engines import Engine

Run = Annotated[str, typer.Argument(help="The run that waits.")]


@app.command()
def approve(
    run_id: Run,
    reason: Annotated[str, typer.Option(help="Why, if you like.")] = "",
    namespace: Namespace = "",
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Let the model of a run that waits for approval go live: a run of this volume, else of the cluster's namespace."""
    with told(debug):
        _answer(run_id, True, reason, namespace, folder)


@app.command()
def reject(
    run_id: Run,
    reason: Annotated[str, typer.Option(help="Why; it stands in the model's card.")],
    namespace: Namespace = "",
    folder: Volume = None,
    debug: Debug = False,
) -> None:
    """Keep the model of a run that waits for approval from going live; the run ends as one that the gate refuses."""
    with told(debug):
        _answer(run_id, False, reason, namespace, folder)


@app.command()
def approvals(namespace: Namespace = "", folder: Volume = None, debug: Debug = False) -> None:
    """Show the runs that wait for approval, and what there is to decide by: on the volume, or in --namespace."""
    with told(debug):
        use_volume(folder)
        questions = _engine(here=not namespace, namespace=namespace).asked()
        for question in questions:
            _say(f"{question.run_id} would put {question.model_name} live; it waits until {moment(question.until)}")
            console.print(Markdown(question.verdict))
            _say(f"The verdict and the misread images: {question.page}\n")
        if not questions:
            _say("nothing waits for approval")


def _answer(run_id: str, approved: bool, reason: str, namespace: str, folder: Path | None) -> None:
    check_run_id(run_id)
    use_volume(folder)
    here = not namespace and (folder is not None or volume.run_path(run_id).is_dir())
    engine = _engine(here=here, namespace=namespace)
    try:
        person = engine.person()
    except Unavailable as error:
        if namespace or here:
            raise
        why = f"{volume.run_path(run_id)} is not there; on a cluster, {error.what}"
        remedy = f"correct the run's id, or give --folder; for a run on a cluster, {error.remedy}"
        raise Unavailable(f"run {run_id} is not on this volume, and no cluster can be asked", why, remedy) from error
    answer = Answer(approved, person, reason.strip(), time.time())
    engine.answer(run_id, answer)
    _say(f"Run {run_id} is {answer}")


def _engine(*, here: bool, namespace: str) -> Engine:
    """Return the engine that asks: this machine's, or that of a cluster."""
    if here:
        from hyperflow.engines import local

        return local.LocalEngine()
    from hyperflow.engines import kubeflow

    return kubeflow.create(namespace=namespace)


def _say(text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)
