"""Keep the volume from growing: the last models and runs stay, and the data sets that these need.

What goes is first renamed to a hidden name and then deleted, so that a sweep that is killed leaves
nothing that looks whole; the next one deletes what it left. Never deleted are the model that
serves, the one before it, and anything of a run that may still be at work.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hyperflow import volume
from hyperflow.volume import cards, paths, records, runs

_TRASH = ".trash-"


@dataclass(frozen=True)
class Keep:
    """What stays.

    Args:
        models: How many models, this run's included.
        runs: How many runs of this model, this one included.
        longest: Seconds without a sign of life after which a run elsewhere counts as dead.
    """

    models: int
    runs: int
    longest: float


def sweep(model_name: str, run_id: str, dataset: str, keep: Keep, live: Callable[[], Collection[str]]) -> list[str]:
    """Delete what is not kept; return what was deleted, relative to the volume.

    Args:
        model_name: Whose models and runs to look at.
        run_id: The run that asks; nothing of it is deleted.
        dataset: The data set whose old states may go.
        keep: What stays.
        live: Returns the runs whose models serve or may have to serve again; asked after it is known who is at work,
            so that a run which ends meanwhile is found either at work or live.
    """
    models, folder = paths.models(model_name), paths.all_runs()
    for place in (models, folder, paths.dataset_states(dataset)):
        for left in place.glob(f"{_TRASH}*"):
            shutil.rmtree(left, ignore_errors=True)
    made, ours = _names(models), [name for name in _names(folder) if _is_of(name, model_name)]
    working = {name for name in {*made, *ours} if runs.may_run(name, keep.longest)}
    stay = {*working, *live(), *cards.gone_live(model_name)}
    old_runs = _surplus(ours, stay, run_id, keep.runs, _started)
    gone = [models / name for name in _surplus(made, stay, run_id, keep.models, _made(models))]
    gone += [folder / name for name in old_runs]
    for path in gone:
        _delete(path)
    for name in old_runs:
        paths.service_log(model_name, name).unlink(missing_ok=True)
    gone += list(_unused_data(dataset, keep.longest))
    return [str(path.relative_to(volume.root())) for path in gone]


def _surplus(
    names: list[str], stay: Collection[str], run_id: str, count: int, age: Callable[[str], float]
) -> list[str]:
    """List what is not among the newest, of which this run's is always one, and may go."""
    others = sorted((name for name in names if name != run_id), key=age, reverse=True)
    return [name for name in others[count - 1 :] if name not in stay]


def _unused_data(dataset: str, longest: float) -> Iterator[Path]:
    """Delete the states of a data set that no run and no model left on the volume has used."""
    used = {card.data for path in paths.all_models().glob("*/[!.]*") if (card := cards.read(path))}
    for name in _names(paths.all_runs()):
        loaded = records.read(name, records.LoadData)
        if loaded:
            used.add(loaded.dataset.digest)
        elif runs.may_run(name, longest):
            return  # it may have found its data there already, and not said so yet
    folder = paths.dataset_states(dataset)
    for name in _names(folder):
        if name not in used:
            _delete(folder / name)
            yield folder / name


def _delete(path: Path) -> None:
    hidden = path.with_name(f"{_TRASH}{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):  # another sweep was quicker
        path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())


def _is_of(run_id: str, model_name: str) -> bool:
    checked = records.read(run_id, records.Check)
    return checked is not None and checked.model_name == model_name


def _made(models: Path) -> Callable[[str], float]:
    def age(name: str) -> float:
        card, model = cards.read(models / name), models / name / volume.MODEL_VERSION
        if card or not model.exists():
            return card.made if card else 0.0  # what a dead training left is the first to go
        return model.stat().st_mtime

    return age


def _started(run_id: str) -> float:
    checked = records.read(run_id, records.Check)
    return checked.started if checked else 0.0
