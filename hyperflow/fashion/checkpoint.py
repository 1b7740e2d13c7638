"""What a restart goes on from: one file, replaced whole after each epoch, of use to the same training only.

The same training with more epochs may begin with it too.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperflow import volume
from hyperflow.fashion.network import Array

ENVIRONMENT = "HYPERFLOW_CHECKPOINT_DIR"
FROM = "HYPERFLOW_CHECKPOINT_FROM"
"""Names the folder with the checkpoint of the same training with fewer epochs, to begin with and only to read."""

_FILE = "checkpoint.npz"


@dataclass(frozen=True)
class Identity:
    """Which training a checkpoint is of.

    Args:
        fingerprint: Of all that the result depends on.
        lineage: Of the same but the number of epochs.
    """

    fingerprint: str
    lineage: str


@dataclass(frozen=True)
class Checkpoint:
    """A training after some epochs.

    Args:
        state: All values of the network and its optimizer.
        history: Every value of every metric up to here.
        seconds: Time spent up to here.
    """

    state: list[Array]
    history: dict[str, list[float]]
    seconds: float

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self.history.get("loss", []))


def save(folder: str, identity: Identity, checkpoint: Checkpoint) -> None:
    """Keep a checkpoint in place of an older one; without a folder, do nothing.

    Raises:
        Unavailable: The folder cannot be written, or the disk is full.
    """
    if not folder:
        return
    path = Path(folder) / _FILE
    about = {**asdict(identity), "history": checkpoint.history, "seconds": checkpoint.seconds}
    arrays: dict[str, Any] = {f"{number:04}": value for number, value in enumerate(checkpoint.state)}
    partial = path.with_name(f".{_FILE}.partial")
    with volume.writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                np.savez(file, about=np.array(json.dumps(about)), **arrays)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def load(folder: str, identity: Identity, shorter: str = "") -> Checkpoint | None:
    """Return the checkpoint of this very training, or None where there is none that can be used.

    Args:
        folder: Where it is kept.
        identity: The training.
        shorter: Where that of the same training with fewer epochs is, in case this one has none yet.
    """
    return _read(folder, "fingerprint", identity) or _read(shorter, "lineage", identity)


def _read(folder: str, by: str, identity: Identity) -> Checkpoint | None:
    path = Path(folder) / _FILE
    if not folder or not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            state = [archive[name] for name in sorted(archive.files) if name != "about"]
        if about[by] != getattr(identity, by):
            print(f"{path} is of another training: starting anew", file=sys.stderr)
            return None
        return Checkpoint(state, about["history"], about["seconds"])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        print(f"{path} is damaged ({error}): starting anew", file=sys.stderr)
        return None
