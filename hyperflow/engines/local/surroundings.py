"""What this machine has: the trainer's program, cores, GPUs; judged before a run has made anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hyperflow.engines.local.processes import as_the_user_has_it
from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.specs import Description, Trainer, TrainSpec, TuneSpec

_A_CORE, _ANYWHERE = 2, 4  # processes that learn at one time: more of them only wait for each other, and for memory
_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_DESCRIBE = "--describe"
_SECONDS = 30


def check(tune: TuneSpec, train: TrainSpec) -> None:
    """Refuse what this machine has not got.

    Raises:
        InvalidParameter: It has not.
    """
    _check_program(tune.trainer.command)
    cores = os.cpu_count() or 1
    most = max(_ANYWHERE, _A_CORE * cores)
    for name, count in (("parallel_trials", tune.parallel_trials), ("workers", train.workers)):
        if count > most:
            raise InvalidParameter(name, count, f"at most {most} on this machine, which has {cores} cores")
    if tune.compute.gpus and not any(Path(device).exists() for device in _GPUS):
        raise InvalidParameter("gpus", tune.compute.gpus, "0, as this machine has none that can be used")


def describe(trainer: Trainer) -> Description | None:
    """Ask a trainer of the user's what arguments it takes, if its source has the word `--describe`.

    One that does not know the word would begin to work.

    Raises:
        Unavailable: It knows the word, and does not answer with a JSON schema.
    """
    if not any(_has_the_word(Path(word)) for word in trainer.command):
        return None
    what, remedy = f"{' '.join(trainer.command)} {_DESCRIBE} fails", "have it print a JSON schema of its arguments"
    try:
        done = subprocess.run(
            [*trainer.command, _DESCRIBE], env=as_the_user_has_it(os.environ), stdin=subprocess.DEVNULL, text=True,
            capture_output=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unavailable(what, f"it took more than {_SECONDS} s", remedy) from error
    if done.returncode != 0:
        raise Unavailable(what, f"it ended with exit code {done.returncode}: {done.stderr[-500:]}", remedy)
    try:
        return Description.parse(done.stdout)
    except ValueError as error:
        raise Unavailable(what, str(error), remedy) from error


def _check_program(command: Sequence[str]) -> None:
    program, script = command[0], next((word for word in command[1:2] if word.endswith(".py")), "")
    if shutil.which(program) is None:
        raise InvalidParameter("trainer_command", list(command), f"a program that is there; {program!r} was not found")
    if script and not Path(script).is_file():
        allowed = f"a program that is there; {script!r} was not found from {Path.cwd()}"
        raise InvalidParameter("trainer_command", list(command), allowed)


def _has_the_word(path: Path) -> bool:
    try:
        return _DESCRIBE.encode() in path.read_bytes()
    except OSError:
        return False
