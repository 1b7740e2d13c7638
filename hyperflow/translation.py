"""Parameters as specs: which parameter each field of a spec comes from, and what a refused field is called.

A field that has a parameter's name comes from that one; the maps here name the others.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import hyperflow
from hyperflow import volume
from hyperflow.errors import InvalidParameter
from hyperflow.parameters import TABLE, Parameters
from hyperflow.specs import (
    Algorithm,
    Compute,
    Description,
    EarlyStopping,
    ModelRef,
    Objective,
    ServeSpec,
    Trainer,
    TrainSpec,
    TuneSpec,
    Value,
)
from hyperflow.specs.space import read_space
from hyperflow.specs.values import integral, mapping

PORT = "HYPERFLOW_PORT"
"""Environment variable with the port to serve on, for an engine that serves on this machine."""

_EPOCHS = 14  # of a trainer that is not ours, as long as the user does not say

_CHECKED_RUN = "check"  # the run id of specs that are made only to be judged

_TUNE = {"algorithm.name": "algorithm", "epochs": "trial_epochs", "workers": "trial_workers", "timeout": "tune_timeout"}
_TRAIN = {"parameters": "best_parameters", "retries": "train_retries", "timeout": "train_timeout"}
_SERVE = {"name": "model_name", "runtime": "serving_runtime", "image": "serving_image", "timeout": "deploy_timeout"}
_STAGES = {"tune": _TUNE, "train": _TRAIN, "serve": _SERVE}
_TRAINER = {"command": "trainer_command", "image": "trainer_image", "arguments": "trainer_arguments"}
_COMPUTE = {
    "cpu": "cpu", "memory": "memory", "gpus": "gpus", "gpu_resource": "gpu_resource", "shared_memory": "shared_memory",
    "priority_class": "priority_class", "node_selector": "node_selector", "tolerations": "tolerations",
    "image_pull_secret": "image_pull_secret", "queue": "queue", "gang": "gang_scheduling",
}  # fmt: skip
_SERVING_COMPUTE = {
    "cpu": "serving_cpu", "memory": "serving_memory", "gpus": "serving_gpus", "gpu_resource": "gpu_resource",
    "node_selector": "serving_node_selector", "tolerations": "serving_tolerations",
    "image_pull_secret": "image_pull_secret",
}  # fmt: skip

_Spec = TypeVar("_Spec", TuneSpec, TrainSpec, ServeSpec)


def judge(parameters: Parameters) -> None:
    """Judge all values together, by making each spec once.

    Raises:
        InvalidParameter: They cannot work.
    """
    tune_spec(parameters, _CHECKED_RUN, "/")
    train_spec(parameters, _CHECKED_RUN, "/", mapping("best_parameters", parameters.best_parameters))
    serve_spec(parameters, _CHECKED_RUN, ModelRef("/"))
    ours = our_trainer(parameters)
    if ours:
        judge_trainer(parameters, ours)


def judge_trainer(parameters: Parameters, described: Description) -> None:
    """Judge what a trainer would be given by what it says of itself.

    Raises:
        InvalidParameter: It would refuse it.
    """
    for given in ("trainer_arguments", "trial_arguments", "best_parameters"):
        for name, value in mapping(given, getattr(parameters, given)).items():
            described.judge(f"{given}[{name}]", name, value)
    for dimension in read_space(parameters.search_space):
        for value in dimension.values or (dimension.min, dimension.max):
            described.judge(f"search_space[{dimension.name}]", dimension.name, value)
    if "epochs" in described.arguments:  # every trainer gets them
        described.judge("epochs", "epochs", epochs(parameters))
        described.judge("trial_epochs", "epochs", parameters.trial_epochs)
    described.judge_metric("objective_metric", parameters.objective_metric)
    if described.checkpoints is False and _gives_epochs(parameters):
        allowed = "another one than hyperband by epochs, as the trainer says that it keeps no checkpoints"
        raise InvalidParameter("algorithm", parameters.algorithm, allowed)


def may_train_anew(parameters: Parameters, described: Description | None) -> bool:
    """Tell whether hyperband gives more epochs to trials of which nobody knows that they go on from a checkpoint.

    Args:
        parameters: What the user asks for.
        described: What the trainer says of itself, or None.
    """
    return (described is None or described.checkpoints is None) and _gives_epochs(parameters)


def _gives_epochs(parameters: Parameters) -> bool:
    """Tell whether trials are to go on with more epochs; Katib's never do, they all train anew."""
    return parameters.tuner != "katib" and _algorithm(parameters).gives_epochs


def our_trainer(parameters: Parameters) -> Description | None:
    """Return what our own trainer says of itself, or None where another one is to train."""
    return _ours() if tuple(parameters.trainer_command[1:3]) == ("-m", "hyperflow.fashion.train") else None


@functools.cache
def _ours() -> Description:
    """Read it, without importing the trainer and TensorFlow."""
    return Description.parse((Path(hyperflow.__file__).parent / "fashion" / "arguments.json").read_text("utf-8"))


def epochs(parameters: Parameters) -> int:
    """Return the epochs of the training: those asked for, else those that our trainer has for its arguments."""
    ours = our_trainer(parameters)
    given = mapping("trainer_arguments", parameters.trainer_arguments)
    return parameters.epochs or (int(ours.default("epochs", given)) if ours else _EPOCHS)


def tune_spec(parameters: Parameters, run_id: str, data_path: str) -> TuneSpec:
    """Make the spec of the search."""
    made = {
        "run_id": run_id, "data_path": data_path,
        "trainer": trainer(parameters, mapping("trial_arguments", parameters.trial_arguments)),
        "search_space": read_space(parameters.search_space), "objective": _objective(parameters),
        "algorithm": _algorithm(parameters),
        "early_stopping": _early_stopping(parameters), "compute": _compute(parameters, _COMPUTE),
    }  # fmt: skip
    return _make(TuneSpec, _TUNE, made, parameters)


def _algorithm(parameters: Parameters) -> Algorithm:
    return Algorithm(parameters.algorithm, mapping("algorithm_settings", parameters.algorithm_settings))


def train_spec(parameters: Parameters, run_id: str, data_path: str, best: Mapping[str, Value]) -> TrainSpec:
    """Make the spec of the training."""
    model = volume.model_path(parameters.model_name, run_id) / volume.MODEL_VERSION
    made = {
        "run_id": run_id, "data_path": data_path, "model_path": str(model), "parameters": best,
        "epochs": epochs(parameters),
        "trainer": trainer(parameters), "compute": _compute(parameters, _COMPUTE),
    }  # fmt: skip
    return _make(TrainSpec, _TRAIN, made, parameters)


def serve_spec(parameters: Parameters, run_id: str, model: ModelRef) -> ServeSpec:
    """Make the spec of the service."""
    made = {"run_id": run_id, "model": model, "port": _port(), "compute": _compute(parameters, _SERVING_COMPUTE)}
    return _make(ServeSpec, _SERVE, made, parameters)


def _make(spec: type[_Spec], names: Mapping[str, str], made: Mapping[str, Any], parameters: Parameters) -> _Spec:
    """Make a spec of what is made already and of the parameters that its other fields have the names of."""
    called = {item.name: names.get(item.name, item.name) for item in fields(spec)}
    plain = {field: getattr(parameters, name) for field, name in called.items() if field not in made and name in TABLE}
    with _called(names):
        return spec(**plain, **made)


def trainer(parameters: Parameters, more: Mapping[str, Value] = MappingProxyType({})) -> Trainer:
    """Make the trainer, with further arguments or without: those of trials."""
    arguments: dict[str, Any] = mapping("trainer_arguments", parameters.trainer_arguments)
    blamed = {f"arguments[{name}]": f"trial_arguments[{name}]" for name in more}
    with _called({**_TRAINER, **blamed}):
        return Trainer(tuple(parameters.trainer_command), arguments | dict(more), parameters.trainer_image)


def _objective(parameters: Parameters) -> Objective:
    goal = None if parameters.objective_goal == "" else _number("objective_goal", parameters.objective_goal)
    return Objective(parameters.objective_metric, parameters.objective_type, goal)  # type: ignore[arg-type]


def _early_stopping(parameters: Parameters) -> EarlyStopping | None:
    settings = mapping("early_stopping_settings", parameters.early_stopping_settings)
    known = [item.name for item in fields(EarlyStopping)]
    for key, value in settings.items():
        if key not in known:
            raise InvalidParameter(f"early_stopping_settings[{key}]", value, f"only {' and '.join(known)}")
    whole = {key: integral(value) for key, value in settings.items()}
    stopping = EarlyStopping(**whole)  # type: ignore[arg-type]
    return stopping if parameters.early_stopping else None


def _compute(parameters: Parameters, names: Mapping[str, str]) -> Compute:
    values = {field: getattr(parameters, name) for field, name in names.items()}
    values["node_selector"] = mapping(names["node_selector"], values["node_selector"])
    values["tolerations"] = tuple(mapping(names["tolerations"], each) for each in values["tolerations"])
    with _called(names):
        return Compute(**values)


@contextmanager
def refusals() -> Iterator[None]:
    """Call what an engine refuses what the user calls it: `serve.runtime` is `serving_runtime`."""
    try:
        yield
    except InvalidParameter as error:
        stage, _, field = error.name.partition(".")
        if stage not in _STAGES:
            raise
        raise error.called(_STAGES[stage].get(field, field)) from None


@contextmanager
def _called(names: Mapping[str, str]) -> Iterator[None]:
    """Call a refused field what the user calls it."""
    try:
        yield
    except InvalidParameter as error:
        field = re.split(r"[.\[]", error.name, maxsplit=1)[0]
        name = names.get(error.name) or names.get(field, field) + error.name[len(field) :]
        raise error.called(name) from None


def _number(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidParameter(name, value, "a finite number, or nothing for none")
    return number


def _port() -> int:
    number = os.environ.get(PORT, "0")
    if not number.isdigit():
        raise InvalidParameter(PORT, number, "a port's number")
    return int(number)
