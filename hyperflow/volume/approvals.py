"""What a person was asked about a run's model, and on this machine what that person said.

    runs/<run id>/approval/question.json    what is asked, and until when: written once, so a retry asks no longer
    runs/<run id>/approval/answer.json      the first answer, written once
    runs/<run id>/approval/page.html        the verdict and the misread images
    runs/<run id>/approval/bell             a named pipe as long as somebody waits: an answer rings it

On a cluster only the question is here: an answer on the volume would need no right but the volume's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from hyperflow import progress
from hyperflow.errors import Conflict
from hyperflow.specs import Answer, Question
from hyperflow.specs.approval import moment
from hyperflow.volume import files, paths

GRACE = 2.0
"""Seconds that a question outlasts its time, for an answer that was given in its last moment."""

ASKS = "asks: "
"""What lines of a step's output begin with that a person is to read now, not in a log later."""

_T = TypeVar("_T", Question, Answer)


def ask(question: Question) -> Question:
    """Write down what is asked; return what an earlier attempt of the step has asked, where it has.

    Raises:
        Conflict: That one was about other things: another model has gone live since.
        Unavailable: The volume cannot be written.
    """
    files.write_once(paths.approval_question(question.run_id), to_json(question))
    standing = asked(question.run_id) or question
    if standing.against != question.against:
        raise Conflict(
            f"run {question.against or 'nothing'} serves {question.model_name} since this run asked for approval",
            f"the candidate was compared with {f'run {standing.against}' if standing.against else 'nothing'} then",
            "start a new run; it will be compared with what is served now",
        )
    return standing


def asked(run_id: str) -> Question | None:
    """Return what a run has asked, or None."""
    return _read(paths.approval_question(run_id), Question)


def answered(run_id: str) -> Answer | None:
    """Return what was answered on this machine, or None."""
    return _read(paths.approval_answer(run_id), Answer)


def answer(run_id: str, given: Answer) -> bool:
    """Write an answer down, whole; return whether it was the first.

    Raises:
        Unavailable: The volume cannot be written.
    """
    return files.write_once(paths.approval_answer(run_id), to_json(given))


def seconds_left(question: Question) -> float:
    """Return for how long to wait for an answer."""
    return question.until + GRACE - time.time()


def nobody(question: Question) -> Answer:
    """Return what stands for an answer where none came."""
    return Answer(False, "", f"nobody approved it by {moment(question.until)}", question.until)


def refuse_late(question: Question, first: Answer | None) -> None:
    """Refuse a second answer, and one that comes too late.

    Raises:
        Conflict: It is one.
    """
    if first:
        raise Conflict(f"run {question.run_id} has its answer", f"it was {first}", "ask who answered first")
    if not question.is_open:
        why, remedy = f"its time ended on {moment(question.until)}", "start a new run, with a longer approval_timeout"
        raise Conflict(f"run {question.run_id} is no longer asking", why, remedy)


def ways(question: Question, where: str) -> list[str]:
    """Return what to type in another terminal.

    Args:
        question: What is asked.
        where: The options with which the commands find it.
    """
    command = f"{question.run_id} {where}"
    return [f"hyperflow approve {command}", f"hyperflow reject {command} --reason TEXT"]


def say(question: Question, lines: Sequence[str]) -> None:
    """Tell whoever reads the step's output what is asked, what there is to decide by, and how to answer."""
    print(question.verdict, flush=True)
    asks = f"{question.model_name} of run {question.run_id} waits for approval until {moment(question.until)}"
    look = f"The verdict and the misread images: {question.page}"
    for line in (asks, look, "To answer, in another terminal:", *lines):
        print(f"{ASKS}{line}", flush=True)
    progress.to_stdout(progress.Progress("decide", 0, 1, f"waiting: hyperflow approve {question.run_id}"))


def to_json(value: Question | Answer) -> str:
    """Write a question or an answer as text."""
    return json.dumps(asdict(value), indent=2)


def from_json(text: str, kind: type[_T]) -> _T:
    """Read what `to_json` has written.

    Raises:
        ValueError: It is none.
    """
    return TypeAdapter(kind).validate_json(text)


def _read(path: Path, kind: type[_T]) -> _T | None:
    try:
        return from_json(path.read_text(encoding="utf-8"), kind)
    except FileNotFoundError:
        return None
