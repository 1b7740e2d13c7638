"""The command line's side of a cluster: `hyperflow render`, `preflight` and `reap`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from hyperflow import translation, volume
from hyperflow.cli import show
from hyperflow.cli.app import Debug, Pipeline, Set, all_values, app, told
from hyperflow.cli.show import console
from hyperflow.parameters import Parameters
from hyperflow.specs import Dimension, ModelRef, Value

if TYPE_CHECKING:
    from hyperflow.engines.kubeflow import KServe

Namespace = Annotated[str, typer.Option(help="The namespace; by default the current one.")]


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
    with told(debug):
        from hyperflow.engines.kubeflow import KServe

        parameters = Parameters.complete(all_values(pipeline, assignments))
        print(_rendered(parameters, run_id, KServe.read(kserve_version, kserve_mode)), end="")


@app.command()
def preflight(
    assignments: Set = None,
    pipeline: Pipeline = "train_and_serve",
    namespace: Namespace = "",
    debug: Debug = False,
) -> None:
    """Look at everything that a run needs of a cluster's namespace; exit 1 where something is missing."""
    with told(debug):
        from hyperflow.engines import kubeflow

        parameters = Parameters.complete(all_values(pipeline, assignments))
        checks = kubeflow.create(namespace=namespace).survey(
            translation.tune_spec(parameters, "preflight", "/"),
            translation.train_spec(parameters, "preflight", "/", {}),
            translation.serve_spec(parameters, "preflight", ModelRef("/")),
        )
        if not show.checks(checks):
            raise typer.Exit(1)


@app.command()
def reap(namespace: Namespace = "", debug: Debug = False) -> None:
    """Delete the jobs that runs which have ended left in a cluster's namespace."""
    with told(debug):
        from hyperflow.engines import kubeflow

        for name in kubeflow.create(namespace=namespace).reap():
            console.print(f"deleted {name}", highlight=False)


def _rendered(parameters: Parameters, run_id: str, kserve: KServe) -> str:
    """Write the Experiment, TFJob and InferenceService that a run with these parameters would create, as YAML.

    What a run finds out stands in for by an example: the data set's digest is `digest`, and each hyper-parameter has
    the first or least of its values.
    """
    import yaml

    from hyperflow.engines.kubeflow import KubeflowEngine

    os.environ[volume.ENVIRONMENT] = volume.MOUNT_PATH  # the paths that the pods will see
    data_path = str(volume.data_path(parameters.dataset, "digest"))
    tune = translation.tune_spec(parameters, run_id, data_path)
    train = translation.train_spec(parameters, run_id, data_path, dict(_examples(tune.search_space)))
    model = ModelRef(str(volume.model_path(parameters.model_name, run_id)), run_id, 0.0, "digest", train.parameters)
    serve = translation.serve_spec(parameters, run_id, model)
    return yaml.safe_dump_all(KubeflowEngine.render(tune, train, serve, kserve), sort_keys=False)


def _examples(space: tuple[Dimension, ...]) -> Iterator[tuple[str, Value]]:
    for parameter in space:
        if parameter.values:
            yield parameter.name, parameter.values[0]
        else:
            yield parameter.name, int(parameter.min) if parameter.type == "int" else parameter.min
