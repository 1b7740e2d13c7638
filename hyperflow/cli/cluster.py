"""The command line's cluster side: `hyperflow render`, `preflight` and `reap`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import yaml
from rich.console import Console
from rich.table import Table

from hyperflow import translation, volume
from hyperflow.engines.kubeflow import manifests, preflight
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.preflight import Check
from hyperflow.engines.kubeflow.reap import reap
from hyperflow.errors import InvalidParameter
from hyperflow.parameters import Parameters
from hyperflow.specs import Dimension, ModelRef, Value

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def render(parameters: Parameters, run_id: str, kserve_version: str, kserve_mode: str) -> str:
    """Write the Experiment, TFJob and InferenceService that a run with these parameters would create, as YAML.

    What a run finds out stands in for by an example: the data set's digest is `digest`, and each hyper-parameter has
    the first or least of its values.
    """
    kserve = _kserve(kserve_version, kserve_mode)
    os.environ[volume.ENVIRONMENT] = volume.MOUNT_PATH  # the paths that the pods will see
    data_path = str(volume.data_path(parameters.dataset, "digest"))
    tune = translation.tune_spec(parameters, run_id, data_path)
    train = translation.train_spec(parameters, run_id, data_path, dict(_examples(tune.search_space)))
    model = ModelRef(str(volume.model_path(parameters.model_name, run_id)), run_id, 0.0, "digest", train.parameters)
    serve = translation.serve_spec(parameters, run_id, model)
    objects = [manifests.experiment(tune), manifests.tfjob(train), manifests.inference_service(serve, kserve)]
    return yaml.safe_dump_all(objects, sort_keys=False)


def survey(namespace: str, parameters: Parameters) -> list[Check]:
    """Look at everything that a run with these parameters needs of a namespace."""
    tune, serve = (
        translation.tune_spec(parameters, "preflight", "/"),
        translation.serve_spec(parameters, "preflight", ModelRef("/")),
    )
    return preflight.survey(Cluster(namespace), tune, serve)


def show(checks: list[Check], console: Console) -> bool:
    """Print the checks as one table, the remedies of what fails below it; return whether all is well."""
    table = Table("", "check", "found")
    for check in checks:
        table.add_row(f"[{_COLOURS[check.status]}]{check.status}[/]", check.name, check.found)
    console.print(table)
    for check in checks:
        if check.remedy and check.status != "ok":
            console.print(f"[bold]{check.name}[/]:")
            console.print(check.remedy, markup=False, highlight=False, soft_wrap=True)
    return not any(check.status == "fail" for check in checks)


def reap_namespace(namespace: str) -> list[str]:
    """Delete the jobs that runs which have ended left in a namespace; return their names."""
    return reap(Cluster(namespace))


def _kserve(version: str, mode: str) -> manifests.KServe:
    major, _, minor = version.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise InvalidParameter("kserve_version", version, "a version such as 0.21")
    if mode == "Standard":
        return manifests.KServe((int(major), int(minor)), "Standard")
    if mode == "Knative":
        return manifests.KServe((int(major), int(minor)), "Knative")
    raise InvalidParameter("kserve_mode", mode, "Standard or Knative")


def _examples(space: tuple[Dimension, ...]) -> Iterator[tuple[str, Value]]:
    for parameter in space:
        if parameter.values:
            yield parameter.name, parameter.values[0]
        else:
            yield parameter.name, int(parameter.min) if parameter.type == "int" else parameter.min
