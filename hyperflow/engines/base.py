"""The contract of an engine: what tunes, trains and serves, wherever that happens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import ClassVar

from hyperflow import progress
from hyperflow.errors import InvalidParameter, one_of
from hyperflow.specs import (
    Answer,
    Description,
    Endpoint,
    Question,
    ServeSpec,
    Trainer,
    TrainResult,
    TrainSpec,
    TuneResult,
    TuneSpec,
    format_value,
)
from hyperflow.volume import approvals

Spec = TuneSpec | TrainSpec | ServeSpec
Limits = Mapping[str, Collection[object]]

_STAGES: Mapping[type[Spec], str] = {TuneSpec: "tune", TrainSpec: "train", ServeSpec: "serve"}


class Engine(ABC):
    """Turns specs into work and follows the work to a truthful end.

    Every engine keeps the same promises, and one suite (tests/conformance) holds each to them:

    *Truthful.* A call returns only what happened. A trial, job or service that failed raises
    `JobFailed` with the cause: conditions, reasons, the last lines of the failed worker's log, and
    what to do. A search that ended without a best trial, or whose best value is not a finite
    number, has failed, whatever the system below it says.

    *Resumable.* What is created is named from the run and the task. A second call with the same
    spec finds what the first one made and follows it, or returns its result if it has ended well;
    it never makes another. Something of the same name from another run or another spec raises
    `Conflict` and stays untouched.

    *Prompt.* The end of a job is seen within a second, without asking in a loop.

    *Tidy.* A call that is cancelled (`KeyboardInterrupt`, `Cancelled`) deletes what it started and
    had not finished. `reap` deletes what a killed process could not. Models, data and services are
    never deleted this way.

    *Open.* While it waits it reports how far it is, one `Progress` a change.

    Specs are valid by construction, so an engine checks only what it alone knows, and does so
    before it creates anything. What it has not got at all stands in `limits`, and is refused here,
    by every verb. What says only where on a cluster to work (claim, images, resources, nodes,
    queues) changes nothing of what is made: an engine without such things passes it over.
    """

    name: ClassVar[str]
    """What HYPERFLOW_ENGINE calls this engine."""

    limits: ClassVar[Limits] = MappingProxyType({})
    """The only values that this engine has for a spec's field: `{"train.parameter_servers": (0,)}`."""

    def __init__(self, tell: progress.Tell = progress.to_stdout) -> None:
        self.tell = tell

    def judge(self, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> None:
        """Refuse what this engine has not got, wherever it is: nothing is asked of a cluster or a disk.

        Raises:
            InvalidParameter: This engine has no such thing.
        """
        for spec in (tune, train, serve):
            self._refuse(spec)
        self._judge(tune, train, serve)

    def check(self, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> None:
        """Refuse, before a run has made anything, what this engine has not got or what would hang or fail here.

        Raises:
            InvalidParameter: This engine has no such thing.
            Unavailable: What this engine needs is not there; the message says how to mend each thing.
        """
        self.judge(tune, train, serve)
        self._check(tune, train, serve)

    def tune(self, spec: TuneSpec) -> TuneResult:
        """Search for hyper-parameters until the trials are spent or the goal is reached.

        Raises:
            InvalidParameter: This engine has no such thing.
            JobFailed: Too many trials failed, or none gave a finite objective.
            JobTimeout: `spec.timeout` passed.
            Conflict: The name is taken by another run or another spec.
            Unavailable: What this engine needs is not there.
        """
        self._refuse(spec)
        return self._tune(spec)

    def train(self, spec: TrainSpec) -> TrainResult:
        """Train with the workers asked for, until the model stands whole at `spec.model_path`.

        Raises:
            InvalidParameter: This engine has no such thing.
            JobFailed: A worker failed for good, or ended without a model.
            JobTimeout: `spec.timeout` passed.
            Conflict: The name, or the model's path, is taken by another run or another spec.
            Unavailable: What this engine needs is not there.
        """
        self._refuse(spec)
        return self._train(spec)

    def serve(self, spec: ServeSpec) -> Endpoint:
        """Have a model ready under the service's name and return once this very model answers.

        It answers at `Endpoint.url`. Whether the service's users meet it at once, in part
        (`canary_percent`) or only after `promote` is the engine's choice; `promote` is always
        right. What was served before becomes `Endpoint.previous`. If the new model does not come
        up, the service is left answering with the previous one.

        Raises:
            InvalidParameter: This engine has no such thing.
            JobFailed: The model cannot be loaded or served.
            JobTimeout: It did not answer within `spec.timeout`.
            Conflict: The service's name is taken by something that Hyperflow did not make.
            Unavailable: What this engine needs is not there.
        """
        self._refuse(spec)
        return self._serve(spec)

    def describe(self, trainer: Trainer) -> Description | None:
        """Return what a trainer says of itself, or None where it says nothing or cannot be asked from here."""
        return None

    @abstractmethod
    def uri(self, spec: ServeSpec) -> str:
        """Return where a model's folder is, as those find it who have not got the volume.

        Raises:
            InvalidParameter: It is not on the volume.
        """

    @abstractmethod
    def promote(self, name: str) -> Endpoint:
        """Give the model last served all of the service's requests; once it has them, change nothing.

        Raises:
            JobFailed: There is no such service, or the promoted model does not come up.
        """

    @abstractmethod
    def restore(self, name: str) -> Endpoint:
        """Take the model last served back, and return once the one before it answers.

        Where there is none, what failed is left to be looked at, marked: it no longer counts as
        served, nothing goes back to it, and the next `serve` replaces it.

        Raises:
            JobFailed: There is no previous model, or it does not come up.
        """

    @abstractmethod
    def deployed(self, name: str) -> Endpoint | None:
        """Return the model last served and not taken back, and where it alone is asked; `restore` takes it back."""

    @abstractmethod
    def serving(self, name: str) -> Endpoint | None:
        """Return what the service's users meet, or None where there is nothing of that name that has done well."""

    def ask(self, question: Question) -> Answer:
        """Ask a person, once a run, and wait for the answer without asking in a loop.

        A second call takes up what the first one asked, with its time, and the answer that may have come. Where none
        comes, the answer is a no of nobody.

        Raises:
            Conflict: The run has asked about other things before.
            Unavailable: The question cannot be put, or has been taken away.
        """
        standing = approvals.ask(question)
        return self._ask(standing) or approvals.nobody(standing)

    @abstractmethod
    def answer(self, run_id: str, answer: Answer) -> None:
        """Answer what a run asks; of two answers the first one counts.

        Raises:
            Conflict: It has its answer, and the message says whose; or the time is over.
            Unavailable: The run asks nothing, or this person may not answer.
        """

    @abstractmethod
    def asked(self) -> list[Question]:
        """Return what waits for an answer, the oldest question first."""

    @abstractmethod
    def person(self) -> str:
        """Name who uses this engine, as far as the system below it knows."""

    @abstractmethod
    def reap(self) -> list[str]:
        """Delete the jobs of runs that have ended; return the names of what was deleted."""

    def _refuse(self, spec: Spec) -> None:
        """Refuse what this engine has not got, by the name of the spec's field."""
        for path, values in self.limits.items():
            stage, _, field = path.partition(".")
            if stage != _STAGES[type(spec)]:
                continue
            given = attrgetter(field)(spec)
            if given not in values:
                shown = one_of(_shown(value) for value in values)
                raise InvalidParameter(path, given, f"{shown}: the {self.name} engine has nothing else")

    @abstractmethod
    def _judge(self, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> None:
        """Refuse what this engine has not got and `limits` cannot say."""

    @abstractmethod
    def _check(self, tune: TuneSpec, train: TrainSpec, serve: ServeSpec) -> None:
        """Refuse what would hang or fail in these surroundings."""

    @abstractmethod
    def _tune(self, spec: TuneSpec) -> TuneResult:
        """Do what `tune` promises."""

    @abstractmethod
    def _train(self, spec: TrainSpec) -> TrainResult:
        """Do what `train` promises."""

    @abstractmethod
    def _ask(self, question: Question) -> Answer | None:
        """Do what `ask` promises; None where no answer came."""

    @abstractmethod
    def _serve(self, spec: ServeSpec) -> Endpoint:
        """Do what `serve` promises."""


def _shown(value: object) -> str:
    """Write a value as the command line takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return format_value(value) if isinstance(value, (int, float, str)) else str(value)
