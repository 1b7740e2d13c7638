"""A training, or one trial of a search, as every backend is asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from hyperflow import volume
from hyperflow.engines.kubeflow.manifests import command
from hyperflow.engines.kubeflow.manifests.common import SPEC_ANNOTATION, environment, in_pod, labels
from hyperflow.errors import InvalidParameter
from hyperflow.specs import Compute, Trainer, TrainSpec, TuneSpec, Value, fingerprint
from hyperflow.specs.trainer import uses_no_gpu
from hyperflow.volume import paths

GRACE = 600
"""Seconds between the step's own time limit and the controller's, which deletes the pods and their logs."""

SEARCH_LABEL = "hyperflow.dev/search"
"""Names the search that a trial's job belongs to."""
NUMBER_ANNOTATION = "hyperflow.dev/trial"
"""A trial's number in its search."""

LARGEST_RETRYABLE = 127
"""The trainer contract: exit codes up to here name faults that no retry cures."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Processes of one program that train together, and are created under one name.

    Args:
        name: The object's name.
        labels: Its labels.
        annotations: Its annotations.
        trainer: The program and its image.
        argv: What each process runs.
        env: Variables that each process gets, TF_CONFIG apart.
        workers: Processes that compute gradients.
        parameter_servers: Parameter servers beside them.
        evaluator: Whether an evaluator runs beside them.
        retries: Restarts of each process after a fault that a retry may cure.
        seconds: The controller's time limit.
        compute: What each process gets.
        claim: The volume's claim.
    """

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    trainer: Trainer
    argv: tuple[str, ...]
    env: Mapping[str, str]
    workers: int = 1
    parameter_servers: int = 0
    evaluator: bool = False
    retries: int = 0
    seconds: int
    compute: Compute
    claim: str

    def __post_init__(self) -> None:
        require_image(self.trainer, self.compute)


def training(spec: TrainSpec) -> Work:
    """Word a training as work.

    Raises:
        InvalidParameter: The trainer has no image, or a path is not on the volume.
    """
    argv = spec.trainer.argv(
        in_pod(spec.data_path, "data_path"), spec.parameters, spec.epochs, in_pod(spec.model_path, "model_path")
    )
    folder = paths.training(spec.run_id, Path(volume.MOUNT_PATH))
    env = environment(
        HYPERFLOW_CHECKPOINT_DIR=str(folder / "checkpoint"), HYPERFLOW_TENSORBOARD_DIR=str(folder / "tensorboard")
    )
    return Work(
        name=spec.name, labels=labels(spec.run_id), annotations={SPEC_ANNOTATION: fingerprint(spec)},
        trainer=spec.trainer, argv=tuple(command.literal(argv)), env=env, workers=spec.workers,
        parameter_servers=spec.parameter_servers, evaluator=spec.evaluator, retries=spec.retries,
        seconds=spec.timeout + GRACE, compute=spec.compute, claim=spec.claim,
    )  # fmt: skip


def trial(
    spec: TuneSpec, number: int, parameters: Mapping[str, Value], env: Mapping[str, str] = MappingProxyType({})
) -> Work:
    """Word one trial of our own search as work: one failure ends it.

    Args:
        spec: What is searched for.
        number: The trial's number.
        parameters: Its values.
        env: Variables that it gets beside those of every pod.

    Raises:
        InvalidParameter: The trainer has no image, or a path is not on the volume.
    """
    argv = spec.trainer.argv(in_pod(spec.data_path, "data_path"), parameters, spec.epochs)
    return Work(
        name=trial_name(spec, number), labels={**labels(spec.run_id), SEARCH_LABEL: spec.name},
        annotations={SPEC_ANNOTATION: fingerprint(spec), NUMBER_ANNOTATION: str(number)},
        trainer=spec.trainer, argv=tuple(command.literal(argv)), env=environment(**env), workers=spec.workers,
        seconds=spec.timeout, compute=spec.compute, claim=spec.claim,
    )  # fmt: skip


def trial_name(spec: TuneSpec, number: int) -> str:
    """Name a trial, the same for every attempt of its step."""
    return f"{spec.name}-{number:03d}"


def require_image(trainer: Trainer, compute: Compute) -> None:
    """Refuse a trainer that no pod could run, and GPUs that it would leave idle.

    Raises:
        InvalidParameter: It has no image, or one that is known to use no GPU.
    """
    if not trainer.image:
        raise InvalidParameter("trainer_image", "", "the container image that has the trainer in it")
    if compute.gpus and uses_no_gpu(trainer.image):
        remedy = (
            f"0 with {trainer.image}, whose TensorFlow uses none; or give trainer_image, hyperflow-model-cuda for one"
        )
        raise InvalidParameter("gpus", compute.gpus, remedy)
