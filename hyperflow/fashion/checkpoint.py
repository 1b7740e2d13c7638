"""What a restart goes on from: one file, replaced whole after each epoch, of use to the same training only."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperflow import volume
from hyperflow.fashion.network import Array

ENVIRONMENT = "HYPERFLOW_CHECKPOINT_DIR"

_FILE = "checkpoint.npz"


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


def save(folder: str, fingerprint: str, checkpoint: Checkpoint) -> None:
    """Keep a checkpoint in place of an older one; without a folder, do nothing.

    Raises:
        Unavailable: The folder cannot be written, or the disk is full.
    """
    if not folder:
        return
    path = Path(folder) / _FILE
    about = {"fingerprint": fingerprint, "history": checkpoint.history, "seconds": checkpoint.seconds}
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


def load(folder: str, fingerprint: str) -> Checkpoint | None:
    """Return the checkpoint of this very training, or None where there is none that can be used."""
    path = Path(folder) / _FILE
    if not folder or not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            state = [archive[name] for name in sorted(archive.files) if name != "about"]
        if about["fingerprint"] != fingerprint:
            print(f"{path} is of another training: starting anew", file=sys.stderr)
            return None
        return Checkpoint(state, about["history"], about["seconds"])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        print(f"{path} is damaged ({error}): starting anew", file=sys.stderr)
        return None
