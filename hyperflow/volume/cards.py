"""What is remembered of each model, beside it on the volume.

    models/<model name>/<run id>/card.json    what it was made from, and what was decided about it
    models/<model name>/released.json         the runs whose models went live, the last one last

A card lets a later run tell whether it would only make the same model again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import hyperflow
from hyperflow import volume
from hyperflow.specs import Trainer, Value, fingerprint, format_value
from hyperflow.volume import paths

CARD = "card.json"

_LIVE_KEPT = 2  # the one serving and the one before it


@dataclass(frozen=True)
class Card:
    """One model.

    Args:
        run_id: The run that made it.
        data: Digest of its data set.
        code: Digest of the trainer and its arguments, as `code` makes it.
        parameters: The hyper-parameters it was trained with.
        accuracy: Accuracy on the test set of its data set, 0 to 1.
        since_tuning: Trainings since the last search; 0 if this run searched.
        made: When, in seconds since 1970.
        deploy: What was decided about it; None as long as nothing was.
        reason: Why.
        against: The run whose model was serving then, or empty.
        forced: Whether it was deployed against the rule.
        approval: What a person said of it: `approved`, `who`, `why` and when (`at`); None where nobody was asked.
    """

    run_id: str
    data: str
    code: str
    parameters: Mapping[str, Value]
    accuracy: float
    since_tuning: int = 0
    made: float = field(default_factory=time.time)
    deploy: bool | None = None
    reason: str = ""
    against: str = ""
    forced: bool = False
    approval: Mapping[str, Any] | None = None


def code(trainer: Trainer, epochs: int, workers: int, parameter_servers: int) -> str:
    """Digest what trains, apart from the data and the hyper-parameters: program, image, arguments, size."""
    what = {
        "trainer": trainer, "epochs": epochs, "workers": workers, "parameter_servers": parameter_servers,
        "version": hyperflow.__version__, "files": [_digest(path) for path in _files(trainer.command)],
    }  # fmt: skip
    return fingerprint(what)


def same_parameters(one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
    """Tell whether two sets of values are the same to a trainer; KFP hands 64 on as 64.0."""
    return {k: format_value(v) for k, v in one.items()} == {k: format_value(v) for k, v in other.items()}


def write(model_name: str, card: Card) -> None:
    """Put a card beside its model.

    Raises:
        Unavailable: The volume cannot be written.
    """
    text = json.dumps(asdict(replace(card, parameters=dict(card.parameters))), indent=2)
    volume.write_text(volume.model_path(model_name, card.run_id) / CARD, text + "\n")


def read(folder: Path) -> Card | None:
    """Return the card in a model's folder, or None where there is none that can be read."""
    try:
        return Card(**json.loads((folder / CARD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def all_of(model_name: str) -> list[Card]:
    """Return the cards of a model's runs, the oldest first."""
    folders = paths.models(model_name).glob("[!.]*")
    cards = [card for folder in folders if (card := read(folder))]
    return sorted(cards, key=lambda card: card.made)


def goes_live(model_name: str, run_id: str) -> None:
    """Remember that a run's model has gone live."""
    runs = [run for run in gone_live(model_name) if run != run_id]
    volume.write_text(paths.gone_live(model_name), json.dumps([*runs, run_id][-_LIVE_KEPT:]))


def gone_live(model_name: str) -> list[str]:
    """Return the runs whose models went live last, the one before it first."""
    try:
        runs: list[str] = json.loads(paths.gone_live(model_name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return runs


def _files(command: Sequence[str]) -> list[Path]:
    """List what a trainer's command consists of here: our own trainer's source, or the files it names."""
    if tuple(command[1:3]) == ("-m", "hyperflow.fashion.train"):
        return sorted((Path(hyperflow.__file__).parent / "fashion").glob("*.py"))
    return [path for word in command[1:] if (path := Path(word)).is_file()]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
