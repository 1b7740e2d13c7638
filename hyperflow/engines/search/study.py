"""A search's memory: Optuna's study on disk, its trials as they count, and as values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from urllib.parse import quote

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from hyperflow.engines.search import pruning, samplers
from hyperflow.errors import Conflict, Unavailable
from hyperflow.specs import Trial, TuneSpec, fingerprint

STATUS = "status"
SECONDS = "seconds"
METRICS = "metrics"
EXIT_CODE = "exit code"
CORES, MEMORY = "cores", "memory"
"""What is noted with each trial that has ended: how, after how long, its metrics' last values, its exit code, and what
it ran with where its runner knows."""

FILE = "study.db"

_SPEC = "spec"
_BEGAN = "began"
_STATES = {
    "succeeded": TrialState.COMPLETE,
    "early-stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "metrics-unavailable": TrialState.FAIL,
}


def open_study(spec: TuneSpec, folder: Path, trials_survive: bool = False) -> optuna.Study:
    """Create the study, or take up the one a killed search left.

    Args:
        spec: What is searched for.
        folder: Where the study is.
        trials_survive: Whether trials go on without a search; those that do not are to be run again.

    Raises:
        Conflict: The run has searched with another spec.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / FILE}", study_name=spec.name, direction=spec.objective.direction,
        load_if_exists=True, pruner=pruning.pruner(spec),
    )  # fmt: skip
    if study.user_attrs.setdefault(_SPEC, fingerprint(spec)) != fingerprint(spec):
        raise Conflict(
            f"run {spec.run_id} has searched with other parameters", f"{folder} holds its study",
            "give the parameters it had, or another run id",
        )  # fmt: skip
    study.set_user_attr(_SPEC, fingerprint(spec))
    if _BEGAN not in study.user_attrs:
        study.set_user_attr(_BEGAN, time())
    for trial in [] if trials_survive else study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
    study.sampler = samplers.make(spec.algorithm, len(spec.search_space), len(study.get_trials(deepcopy=False)))
    return study


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Say what is the matter where the study cannot be written.

    Raises:
        Unavailable: It cannot.
    """
    try:
        yield
    except StorageInternalError as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise Unavailable(
            f"the study in {folder} cannot be written", cause, "free some space and run it again"
        ) from error


def unfinished(study: optuna.Study) -> list[optuna.Trial]:
    """Return the trials that a killed search has left running."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [optuna.Trial(study, trial._trial_id) for trial in running]


def began(study: optuna.Study) -> float:
    """Return when the search was first begun, in seconds since the epoch."""
    return float(study.user_attrs[_BEGAN])


def counts(trial: FrozenTrial) -> bool:
    """Tell whether a trial has ended: one that a killed search left has not, and runs again under another number."""
    return _STATES.get(trial.user_attrs.get(STATUS)) is trial.state


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count."""
    return [trial for trial in study.get_trials(deepcopy=False) if counts(trial)]


def failed(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return those that failed."""
    return [trial for trial in trials if trial.state == TrialState.FAIL]


def best(spec: TuneSpec, trials: list[FrozenTrial]) -> FrozenTrial | None:
    """Return the best of the trials that succeeded, or None."""
    return next(iter(ranked(spec, trials)), None)


def ranked(spec: TuneSpec, trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that succeeded, the best first."""
    sign = -1 if spec.objective.direction == "maximize" else 1
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def as_value(spec: TuneSpec, trial: FrozenTrial) -> Trial:
    """Return a trial as an engine answers with it."""
    return _as_value(spec.name, spec.objective.metric, trial)


def so_far(folder: Path, metric: str) -> tuple[Trial, ...]:
    """Return the trials of a search that may be at work now, which neither waits for this nor notices it.

    Args:
        folder: Where its study is.
        metric: The metric that trials are judged by.
    """
    name, trials = _read(folder)
    return tuple(_as_value(name, metric, trial) for trial in trials if counts(trial) or _runs(trial))


def cut_off(folder: Path) -> frozenset[str]:
    """Return the names of trials that ended with a killed search, and that ran again under other names.

    Args:
        folder: Where the search's study is.
    """
    name, trials = _read(folder)
    return frozenset(_name(name, trial) for trial in trials if trial.state is TrialState.FAIL and not counts(trial))


def _read(folder: Path) -> tuple[str, list[FrozenTrial]]:
    """Read the name and the trials of a study that may be at work; nothing where there is none."""
    from optuna.storages import RDBStorage  # imported late: every command imports this module, few look at a search
    from sqlalchemy.exc import SQLAlchemyError

    address = f"sqlite:///file:{quote(str(folder / FILE))}?mode=ro&uri=true"
    try:
        storage = RDBStorage(address, skip_compatibility_check=True, skip_table_creation=True)
        try:
            (name,) = optuna.get_all_study_names(storage)
            return name, optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
        finally:
            storage.engine.dispose()
    except (StorageInternalError, SQLAlchemyError, KeyError, ValueError):
        return "", []  # none yet, or it is being written this very moment


def _runs(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.RUNNING


def _name(search: str, trial: FrozenTrial) -> str:
    return f"{search}-{trial.number:03d}"


def _as_value(search: str, metric: str, trial: FrozenTrial) -> Trial:
    name, attributes = _name(search, trial), trial.user_attrs
    if _runs(trial):
        return Trial(name, "running", dict(trial.params))
    seen = attributes.get(METRICS, {})
    value = trial.value if trial.state == TrialState.COMPLETE else seen.get(metric)
    return Trial(
        name, attributes[STATUS], dict(trial.params), value, seen, attributes.get(SECONDS, 0.0),
        attributes.get(CORES, 0), attributes.get(MEMORY, 0),
    )  # fmt: skip
