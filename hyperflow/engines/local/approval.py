"""Wait for a person's answer on this machine, and give one: a file on the volume, and a pipe that wakes who waits."""

from __future__ import annotations

import contextlib
import errno
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperflow import volume
from hyperflow.errors import Cancelled, Unavailable
from hyperflow.specs import Answer, Question
from hyperflow.volume import approvals, paths

_STDOUT = 1
_DAY = 86400.0  # poll takes no more milliseconds than an int has


def wait(question: Question) -> Answer | None:
    """Wait until there is an answer, or the question's time is over."""
    with _bell(paths.approval_bell(question.run_id)) as bell:
        while not (given := approvals.answered(question.run_id)):
            left = approvals.seconds_left(question)
            if left <= 0:
                return None
            _sleep(bell, left)
    return given


def answer(run_id: str, given: Answer) -> None:
    """Answer what a run asks, and wake it; the engine's contract says what is raised."""
    question = approvals.asked(run_id)
    if question is None:
        raise Unavailable(
            f"run {run_id} asks nobody", f"nothing in {paths.approval(run_id)}", "see `hyperflow approvals`"
        )
    approvals.refuse_late(question, approvals.answered(run_id))
    if not approvals.answer(run_id, given):
        approvals.refuse_late(question, approvals.answered(run_id))
    _ring(paths.approval_bell(run_id))


def open_questions() -> list[Question]:
    """Return what waits for an answer on this volume, the oldest first."""
    runs = [folder.name for folder in paths.all_runs().glob("[!.]*/")]
    found = [question for run in runs if (question := approvals.asked(run)) and not approvals.answered(run)]
    return sorted((question for question in found if question.is_open), key=lambda question: question.asked)


def _sleep(bell: int, seconds: float) -> None:
    """Sleep until the bell rings; one whom nobody listens to any more, as its run was killed, does not wait on."""
    sleep = select.poll()
    sleep.register(bell, select.POLLIN)
    sleep.register(_STDOUT, 0)  # of a pipe that nobody reads, poll tells without being asked
    for which, what in sleep.poll(min(seconds, _DAY) * 1000):
        if which == _STDOUT and what & (select.POLLERR | select.POLLHUP):
            raise Cancelled("the step waits for no one", "the process that ran it has ended", "run it again to go on")
        if which == bell:
            os.read(bell, 64)


@contextmanager
def _bell(path: Path) -> Iterator[int]:
    """Make the pipe that an answer rings; it is open for writing too, so that it never reads as ended."""
    with volume.writable(path.parent), contextlib.suppress(FileExistsError):
        os.mkfifo(path)
    bell = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield bell
    finally:
        os.close(bell)
        path.unlink(missing_ok=True)


def _ring(path: Path) -> None:
    """Wake who waits, if anybody does: one that comes later finds the answer."""
    try:
        bell = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO):
            return
        raise
    with contextlib.suppress(BlockingIOError):  # it rings already
        os.write(bell, b"!")
    os.close(bell)
