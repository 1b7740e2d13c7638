"""Trials that go on from a checkpoint: which do, where theirs is, and whose they begin with.

The trainer contract: it keeps its checkpoint in HYPERFLOW_CHECKPOINT_DIR, and where none is there yet it begins with
the one in HYPERFLOW_CHECKPOINT_FROM, of the same arguments with fewer epochs, which it only reads.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from hyperflow.specs import TuneSpec

_PLACE, _FROM = "checkpoint", "goes on from"
_SUFFIX = "-checkpoint"


@dataclass(frozen=True)
class Checkpoints:
    """The folders of a trial's checkpoints, by name.

    Args:
        own: Where it keeps its own.
        parent: Whose it begins with; empty for a trial that begins with nothing.
    """

    own: str
    parent: str = ""

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the variables that tell the trainer.

        Args:
            folder: The search's, as the trainer sees it.
        """
        told = {"HYPERFLOW_CHECKPOINT_DIR": str(folder / self.own)}
        return {**told, "HYPERFLOW_CHECKPOINT_FROM": str(folder / self.parent)} if self.parent else told


def of(spec: TuneSpec, trial: optuna.Trial) -> Checkpoints | None:
    """Return where a trial's checkpoints are, or None where it keeps none.

    The place is noted with the trial, so that one which is run again under another number finds its own.
    """
    if not spec.algorithm.gives_epochs:
        return None
    noted: Mapping[str, str] = trial.user_attrs
    if _PLACE not in noted:
        trial.set_user_attr(_PLACE, f"trial-{trial.number:03d}{_SUFFIX}")
    return Checkpoints(trial.user_attrs[_PLACE], noted.get(_FROM, ""))


def earlier(study: optuna.Study, trial: optuna.Trial) -> list[int]:
    """Return the numbers of a trial's earlier attempts, which were killed with their search, and which it goes on from.

    Args:
        study: The search's.
        trial: The attempt now.
    """
    place = trial.user_attrs.get(_PLACE)
    attempts = [each for each in study.get_trials(deepcopy=False) if each.user_attrs.get(_PLACE) == place]
    return [each.number for each in attempts if place and each.number < trial.number]


def goes_on_from(trial: FrozenTrial) -> dict[str, str]:
    """Return what is noted with a trial that goes on from another one."""
    place = trial.user_attrs.get(_PLACE, "")
    return {_FROM: place} if place else {}


def delete(folder: Path) -> None:
    """Delete all checkpoints of a search that is over; as long as it is not, a trial may be taken up again.

    Args:
        folder: The search's.
    """
    for place in folder.glob(f"trial-*{_SUFFIX}"):
        shutil.rmtree(place, ignore_errors=True)
