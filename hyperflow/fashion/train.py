"""`python -m hyperflow.fashion.train`: train on a verified data set, report each epoch, save when asked to.

exit  0     trained, or the model stands there already, made by the same arguments
      1     something that is needed cannot be used: the disk, the folder
      2     a parameter cannot be what it is
      3     the data set is missing or damaged
      4     the training diverged and was to save a model
      138   another worker was lost; a restart goes on from the checkpoint
      143   told to stop (130 by SIGINT); a restart goes on from the checkpoint
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import tensorflow as tf

import hyperflow
from hyperflow import metrics
from hyperflow.datasets import Split, keep, open_dataset
from hyperflow.datasets.idx import Bytes
from hyperflow.errors import DataError, HyperflowError, InvalidParameter
from hyperflow.fashion import checkpoint, cluster, events, export, learning, scores
from hyperflow.fashion.arguments import SCHEMA, Arguments, usage
from hyperflow.fashion.checkpoint import Checkpoint
from hyperflow.fashion.learning import Images, Learner
from hyperflow.fashion.watch import must_end_within, signals_end_the_process

DATA_FAULT, DIVERGED, WORKER_LOST = 3, 4, 138

THREADS = "HYPERFLOW_THREADS"
DEBUG = "HYPERFLOW_DEBUG"

# What TensorFlow raises in a worker whose peer has gone.
_PEER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


class Diverged(HyperflowError):
    """The loss is not finite any more."""

    exit_code = DIVERGED


class WorkerLost(HyperflowError):
    """Another worker of this training is gone."""

    exit_code = WORKER_LOST


def main(argv: Sequence[str]) -> int:
    """Train as the command line says and return the exit code."""
    if "--describe" in argv or "--help" in argv:
        print(SCHEMA if "--describe" in argv else usage(), end="\n")
        return 0
    try:
        arguments = Arguments.parse(argv)
        member = cluster.member(os.environ.get(cluster.ENVIRONMENT, ""))
        if member.trains:
            _use_threads(os.environ.get(THREADS, ""))
            Training(arguments, member).run()
        else:
            print(f"a {member.role} has nothing to do here: the workers keep and test the model", file=sys.stderr)
    except HyperflowError as error:
        if os.environ.get(DEBUG) == "1":
            raise
        one_line = isinstance(error, InvalidParameter)
        print(f"{error.what}: {error.remedy}" if one_line else error.told, file=sys.stderr, flush=True)
        return DATA_FAULT if isinstance(error, DataError) else error.exit_code
    return 0


def prepare(argv: Sequence[str]) -> None:
    """Read what trainings of these arguments learn from, so that those which are forked from this process need not.

    Raises:
        InvalidParameter: An argument cannot be what it is.
        DataError: The data set is missing or damaged.
    """
    keep(Arguments.parse(argv).data_path)


class Training:
    """One training by one member: from the data, or a checkpoint, to the last line and the model.

    Args:
        arguments: What to train and how.
        member: Which process this is.

    Raises:
        DataError: The data set is missing or damaged.
    """

    def __init__(self, arguments: Arguments, member: cluster.Member) -> None:
        self.arguments, self.member = arguments, member
        self.dataset = open_dataset(arguments.data_path)
        what = self.dataset.digest, hyperflow.__version__
        self.identity = checkpoint.Identity(arguments.fingerprint(*what), arguments.lineage(*what))
        self.checkpoints = os.environ.get(checkpoint.ENVIRONMENT, "")
        self.history: dict[str, list[float]] = {}
        self.earlier, self.started = 0.0, time.monotonic()

    def run(self) -> None:
        """Train, report and save.

        Raises:
            InvalidParameter: Another model stands at the path, or a fraction leaves nothing.
            Diverged: The loss is not finite and a model was to be saved.
            WorkerLost: An exchange with the other workers failed.
        """
        if self._is_done():
            return
        try:
            with must_end_within(cluster.JOIN_SECONDS):
                learner, validation = self._prepare()
            with signals_end_the_process() as guard:
                if self._learn(learner, validation) and self.arguments.model_path:
                    self._finish(learner, guard)
        except _PEER_ERRORS as error:
            if self.member.workers == 1:
                raise
            raise WorkerLost(
                "another worker is gone", str(error).splitlines()[0], "restart all workers of this training"
            ) from error

    def _is_done(self) -> bool:
        """Tell whether the model stands there already."""
        path = self.arguments.model_path
        if not path or not os.path.lexists(path):
            return False
        if export.read_evaluation(path).get("fingerprint") != self.identity.fingerprint:
            raise InvalidParameter("model-path", path, "a path where no model of other arguments stands")
        print(f"{path} stands there already, made by the same arguments", file=sys.stderr)
        return True

    def _prepare(self) -> tuple[Learner, Images]:
        """Split the data, build the network, and go on from a checkpoint where there is one."""
        images = Images(self._pixels("train"), self.dataset.labels("train"))
        learning_images, validation = learning.split(images, self.arguments)
        learner = Learner(self.member.strategy(), self.arguments, learning_images, len(self.dataset.classes))
        shorter = os.environ.get(checkpoint.FROM, "")
        found = checkpoint.load(self.checkpoints, self.identity, shorter) if self.member.leads else None
        if found:
            self.history, self.earlier = found.history, found.seconds
            print(f"going on after epoch {found.epochs}", file=sys.stderr, flush=True)
        learner.agree(found.state if found else learner.state)
        return learner, validation

    def _learn(self, learner: Learner, validation: Images) -> bool:
        """Go through the epochs that are left; tell whether the loss stayed finite."""
        folder = os.environ.get(events.ENVIRONMENT, "") if self.member.leads else ""
        if learner.epochs_done >= self.arguments.epochs:  # killed when only its end was left
            _report(epoch=learner.epochs_done, **{name: values[-1] for name, values in self.history.items()})
        with events.Events(folder) as writer:
            for epoch in range(learner.epochs_done, self.arguments.epochs):
                values = _epoch(learner, epoch, validation)
                _report(epoch=epoch + 1, **values)
                writer.add(epoch + 1, values)
                for name, value in values.items():
                    self.history.setdefault(name, []).append(value)
                if metrics.PENALTY in values.values():
                    return self._diverged(epoch + 1)
                if self.member.leads:
                    done = Checkpoint(learner.state, self.history, self._seconds())
                    checkpoint.save(self.checkpoints, self.identity, done)
        return True

    def _diverged(self, epoch: int) -> bool:
        if self.arguments.model_path:
            raise Diverged(
                f"the training diverged in epoch {epoch}, no model is saved",
                "the loss is not a finite number",
                f"take a learning_rate below {self.arguments.learning_rate:g}",
            )
        print(f"the trial diverged in epoch {epoch}", file=sys.stderr)
        return False

    def _finish(self, learner: Learner, guard: threading.Lock) -> None:
        """Test, and save if this member leads; nobody leaves before that is done."""
        labels = self.dataset.labels("test")
        images = self._pixels("test")
        probabilities = learner.probabilities(images)
        results = scores.summarise(probabilities, labels, self.dataset.classes)
        evaluation = {**results, **self._about(), "weights_digest": learner.digest()}
        loss, accuracy = scores.loss_and_accuracy(probabilities, labels)
        _report(**{"test-loss": loss, "test-accuracy": accuracy})
        print(f"weights-digest: {learner.digest()}", file=sys.stderr, flush=True)
        if self.member.leads:
            with guard:
                export.save(
                    self.arguments.model_path, self.arguments.model, learner.weights, evaluation, images,
                    probabilities, self.arguments.views,
                )  # fmt: skip
        learner.agree(learner.state)

    def _about(self) -> dict[str, object]:
        """Say what was trained, from what, and how it went."""
        arguments = {
            name: value for name, value in asdict(self.arguments).items() if name not in ("data_path", "model_path")
        }
        return {
            "arguments": arguments,
            "curve": self.history,
            "data": {"name": self.dataset.name, "digest": self.dataset.digest},
            "train_class_counts": np.bincount(self.dataset.labels("train")).tolist(),
            "fingerprint": self.identity.fingerprint,
            "seconds": round(self._seconds(), 3),
            "trainer_version": hyperflow.__version__,
            "workers": self.member.workers,
        }

    def _pixels(self, split: Split) -> Bytes:
        return self.dataset.images(split).reshape(-1, *self.dataset.shape)

    def _seconds(self) -> float:
        return self.earlier + time.monotonic() - self.started


def _epoch(learner: Learner, epoch: int, validation: Images) -> dict[str, float]:
    """Learn and validate; a value that is not finite makes all of them the penalty."""
    loss, accuracy = learner.epoch(epoch)
    probabilities = learner.probabilities(validation.pixels)
    validation_loss, validation_accuracy = scores.loss_and_accuracy(probabilities, validation.labels)
    if not np.isfinite(loss) or validation_loss >= metrics.PENALTY:
        loss = validation_loss = metrics.PENALTY
        accuracy = validation_accuracy = 0.0
    return {
        "loss": loss,
        "accuracy": accuracy,
        "validation-loss": validation_loss,
        "validation-accuracy": validation_accuracy,
    }


def _report(**values: float) -> None:
    """Print one line of metrics."""
    print(" ".join(f"{name}={value:.8g}" for name, value in values.items()), flush=True)


def _use_threads(count: str) -> None:
    if not count:
        return
    if not count.isdecimal() or int(count) < 1:
        raise InvalidParameter(THREADS, count, "a whole number from 1")
    tf.config.threading.set_intra_op_parallelism_threads(int(count))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
