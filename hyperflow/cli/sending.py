"""The commands that send a pipeline to Kubeflow: `hyperflow submit` and `schedule`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from hyperflow.cli import submitting
from hyperflow.cli.app import Debug, Pipeline, Set, all_values, app, find_pipeline, told
from hyperflow.cli.show import console

Api = Annotated[
    str, typer.Option("--endpoint", envvar="KF_PIPELINES_ENDPOINT", help="URL of KFP's API, as for the command kfp.")
]
Profile = Annotated[str, typer.Option("--namespace", help="The profile's namespace; none where KFP has a single user.")]
Experiment = Annotated[str, typer.Option(help="KFP's experiment; made if need be.")]


@app.command()
def submit(
    assignments: Set = None,
    pipeline: Pipeline = "train_and_serve",
    endpoint: Api = "",
    namespace: Profile = "",
    experiment: Experiment = "hyperflow",
    name: Annotated[str, typer.Option(help="The run's name in the UI.")] = "",
    debug: Debug = False,
) -> None:
    """Start a run on Kubeflow, of parameters that have been judged here.

    A token or session cookie comes from HYPERFLOW_TOKEN or HYPERFLOW_COOKIE.
    """
    with told(debug):
        path, values, target = _to_send(pipeline, assignments, endpoint, namespace, experiment)
        run_id = submitting.submit(path, values, target, name or f"{path.stem} {time.strftime('%Y-%m-%d %H-%M-%S')}")
        console.print(f"run {run_id} of {path.name} has started", highlight=False)


@app.command()
def schedule(
    assignments: Set = None,
    pipeline: Pipeline = "retrain",
    cron: Annotated[str, typer.Option(help="When, seconds first: '0 0 3 * * *' is each night at three.")] = "",
    every: Annotated[str, typer.Option(help="How often instead: 30m, 6h, 1d.")] = "",
    endpoint: Api = "",
    namespace: Profile = "",
    experiment: Experiment = "hyperflow",
    name: Annotated[str, typer.Option(help="The recurring run's name; by default the pipeline's.")] = "",
    debug: Debug = False,
) -> None:
    """Start runs on Kubeflow again and again, one at a time, of parameters that have been judged here.

    A token or session cookie comes from HYPERFLOW_TOKEN or HYPERFLOW_COOKIE.
    """
    with told(debug):
        when = submitting.When(cron, every)
        path, values, target = _to_send(pipeline, assignments, endpoint, namespace, experiment)
        made = submitting.schedule(path, values, target, name or path.stem, when)
        console.print(f"recurring run {made} of {path.name} is on: {cron or f'every {every}'}", highlight=False)


def _to_send(
    pipeline: str, assignments: list[str] | None, endpoint: str, namespace: str, experiment: str
) -> tuple[Path, dict[str, Any], submitting.Target]:
    """Find the pipeline, and read and judge the values for it, before anything is sent."""
    from hyperflow import runner

    path = find_pipeline(pipeline, own=True)
    values = runner.read_values(path, assignments or [])
    submitting.judge(all_values(str(path), assignments))
    return path, values, submitting.Target(endpoint, namespace, experiment)
