"""Where the served model comes from, as its card beside it says: for whoever asks the predictor what it serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hyperflow.volume import cards


def properties(folder: Path, model_name: str) -> dict[str, Any]:
    """Return a model's place on the volume, the run that made it and its test accuracy; nothing if it has no card.

    Args:
        folder: The folder above the version folders.
        model_name: The name in the paths.
    """
    card = cards.read(folder)
    if card is None or not isinstance(card.run_id, str) or not isinstance(card.accuracy, int | float):
        return {}
    # KServe mounts the folder under another name; there the service has the name of the model's folder.
    name = folder.parent.name if folder.name == card.run_id else model_name
    return {"path": f"models/{name}/{card.run_id}", "run_id": card.run_id, "accuracy": card.accuracy}
