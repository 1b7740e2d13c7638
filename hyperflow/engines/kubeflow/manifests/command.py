"""Command lines that arrive in the container as they were written.

Three readers stand between a manifest and the trainer's argv, each with its own idea of a special character:

    Katib      replaces `${trialParameters.x}` in the JSON text of the trial, then joins the words with spaces
    kubelet    expands `$(NAME)` and takes `$$` for `$`
    sh -c      splits and expands what Katib joined

Katib joins the words of a trial's primary container alone; every other replica gets them as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from hyperflow.errors import InvalidParameter
from hyperflow.specs import Dimension, Trainer

_KATIB = "${trial"
_UNSAFE_IN_A_CHOICE = frozenset("'\"\\$")


def literal(argv: Iterable[str]) -> list[str]:
    """Write an argv so that the kubelet hands it over unchanged."""
    return [_escaped(word) for word in argv]


def trial(trainer: Trainer, data_path: str, space: Sequence[Dimension], epochs: int) -> list[str]:
    """Write the argv of a trial's primary container, so that it survives Katib, kubelet and shell.

    Each parameter has a placeholder in it.

    Raises:
        InvalidParameter: A word or a categorical value that one of the three would change.
    """
    slots, argv = _slots(space), _argv(trainer, data_path, space, epochs)
    return [f"'{word}'" if word in slots else shlex.quote(_escaped(word)) for word in argv]


def trial_replica(trainer: Trainer, data_path: str, space: Sequence[Dimension], epochs: int) -> list[str]:
    """Write the argv of a trial's other containers, which no shell reads.

    Raises:
        InvalidParameter: A word or a categorical value that Katib or the kubelet would change.
    """
    slots, argv = _slots(space), _argv(trainer, data_path, space, epochs)
    return [word if word in slots else _escaped(word) for word in argv]


def placeholder(name: str) -> str:
    """Name what Katib replaces by a parameter's value."""
    return f"${{trialParameters.{name}}}"


def _argv(trainer: Trainer, data_path: str, space: Sequence[Dimension], epochs: int) -> list[str]:
    for parameter in space:
        _check_choices(parameter)
    return trainer.argv(data_path, {parameter.name: placeholder(parameter.name) for parameter in space}, epochs)


def _slots(space: Sequence[Dimension]) -> set[str]:
    return {f"--{parameter.name}={placeholder(parameter.name)}" for parameter in space}


def _escaped(word: str) -> str:
    if not word.isprintable():
        raise InvalidParameter("trainer_command", word, "words without line breaks or other control characters")
    if _KATIB in word:
        raise InvalidParameter("trainer_command", word, f"words without {_KATIB}…}}, which Katib replaces")
    return word.replace("$", "$$")


def _check_choices(parameter: Dimension) -> None:
    for value in parameter.values if parameter.type == "categorical" else ():
        if _UNSAFE_IN_A_CHOICE & set(str(value)):
            name = f"search_space[{parameter.name}].values"
            raise InvalidParameter(
                name, value, "texts without quotes, backslash and $, as Katib pastes them as they are"
            )
