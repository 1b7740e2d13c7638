"""What a search and a training have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from hyperflow.errors import InvalidParameter, one_of
from hyperflow.specs.trainer import Compute, Trainer
from hyperflow.specs.values import check_claim, check_run_id, job_name, whole

Backend = Literal["auto", "tfjob", "trainjob", "job"]

_MOST_WORKERS = 100


@dataclass(frozen=True, kw_only=True)
class Job:
    """A trainer's work on a data set, for one run.

    Args:
        run_id: The run this belongs to.
        data_path: The data set's folder.
        trainer: What each trial, or each worker, runs.
        epochs: Passes over the data, of each trial or of the training.
        workers: Processes that train together, of each trial or of the training.
        compute: Resources of each process.
        claim: The volume claim, where the engine has claims.
        timeout: Seconds for all of it.
        training_backend: What runs several processes together, where the engine has a choice.

    Raises:
        InvalidParameter: A field has a value that cannot work; it is called what it is called here.
    """

    task: ClassVar[str]

    run_id: str
    data_path: str
    trainer: Trainer
    epochs: int = 1
    workers: int = 1
    compute: Compute = field(default_factory=Compute)
    claim: str = "hyperflow"
    timeout: int = 24 * 3600
    training_backend: Backend = "auto"

    def __post_init__(self) -> None:
        check_run_id(self.run_id)
        check_claim(self.claim)
        if not self.data_path.startswith("/"):
            raise InvalidParameter("data_path", self.data_path, "an absolute path")
        whole("epochs", self.epochs, 1)
        whole("workers", self.workers, 1, _MOST_WORKERS)
        whole("timeout", self.timeout, 1)
        if self.training_backend not in get_args(Backend):
            raise InvalidParameter("training_backend", self.training_backend, one_of(get_args(Backend)))

    @property
    def name(self) -> str:
        """The job's name, the same for every attempt of this run's step."""
        return job_name(self.task, self.run_id)
