"""Tune on this machine: Optuna in Katib's place, a process a trial, the study on disk.

The words mean what they mean in Katib: a trial's value is the best its trainer reported; a trial
that ends non-zero has failed; the search fails when `max_failed_trials` have, succeeds at the goal
or when `max_trials` have ended, and has failed all the same when no trial gave a finite value.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from hyperflow import metrics
from hyperflow.engines.local.processes import Job, tail
from hyperflow.errors import Conflict, JobFailed, JobTimeout, Unavailable
from hyperflow.progress import Progress, Report
from hyperflow.specs import Algorithm, Dimension, Trial, TuneResult, TuneSpec, Value, fingerprint, format_value

_STATUS = "status"
_SECONDS = "seconds"
_METRICS = "metrics"
_SPEC = "spec"
_STATES = {
    "succeeded": TrialState.COMPLETE,
    "early-stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "metrics-unavailable": TrialState.FAIL,
}


class Search:
    """One search, from the first trial or from where a killed one stopped.

    Args:
        spec: What to search for.
        folder: Where study and logs are kept; this search's own.
        report: Told of every trial that ends.
    """

    def __init__(self, spec: TuneSpec, folder: Path, report: Report) -> None:
        self._spec, self._folder, self._report = spec, folder, report
        self._jobs: dict[int, Job] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def run(self) -> TuneResult:
        """Run trials until the search has ended, well or badly."""
        with _storage_errors(self._folder):
            self._study = _open_study(self._spec, self._folder)
            self._distributions = {p.name: _distribution(p, self._spec.algorithm) for p in self._spec.search_space}
            with ThreadPoolExecutor(self._spec.parallel_trials) as pool:
                try:
                    self._loop(pool)
                finally:
                    self._stop_trials()
            return self._result()

    def _loop(self, pool: ThreadPoolExecutor) -> None:
        deadline = time.monotonic() + self._spec.timeout
        running: set[Future[None]] = set()
        while not self._is_over():
            while len(running) < self._spec.parallel_trials and self._may_start(len(running)):
                running.add(pool.submit(self._run_trial, self._study.ask(self._distributions)))
            if not running:
                return
            ended, running = wait(running, max(0.0, deadline - time.monotonic()), FIRST_COMPLETED)
            for future in ended:
                future.result()
                self._say()
            if not ended:
                why = f"{len(self._ended())} of {self._spec.max_trials} trials had ended"
                raise JobTimeout(
                    f"the search {self._spec.name} took more than {self._spec.timeout} s", why,
                    "raise tune_timeout, or make trials shorter with trial_epochs",
                )  # fmt: skip

    def _run_trial(self, trial: optuna.Trial) -> None:
        spec = self._spec
        argv = spec.trainer.argv(spec.data_path, trial.params, spec.epochs)
        env = {**os.environ, "HYPERFLOW_THREADS": str(_threads(spec.parallel_trials)), "PYTHONUNBUFFERED": "1"}
        log = _log(self._folder, trial.number)
        log.unlink(missing_ok=True)
        started = time.monotonic()
        with self._lock:
            if self._stopping:
                return
            job = self._jobs[trial.number] = Job(argv, env, log)
        seen, pruned = self._follow(trial, job)
        code = job.wait()
        with self._lock:
            del self._jobs[trial.number]
            if self._stopping:
                return
        trial.set_user_attr(_SECONDS, round(time.monotonic() - started, 3))
        trial.set_user_attr(_METRICS, {name: values[-1] for name, values in seen.items()})
        self._tell(trial, code, seen.get(spec.objective.metric, []), pruned)

    def _follow(self, trial: optuna.Trial, job: Job) -> tuple[dict[str, list[float]], bool]:
        """Read a trial's metrics as it prints them, and stop it when the pruner says so."""
        seen: dict[str, list[float]] = {}
        pruned = False
        for line in job.lines():
            for name, value in metrics.parse_line(line).items():
                seen.setdefault(name, []).append(value)
                if name == self._spec.objective.metric and not pruned:
                    trial.report(value, len(seen[name]))
                    pruned = trial.should_prune()
                    if pruned:
                        job.stop()
        return seen, pruned

    def _tell(self, trial: optuna.Trial, code: int, values: list[float], pruned: bool) -> None:
        finite = [value for value in values if math.isfinite(value) and abs(value) < metrics.PENALTY]
        if pruned:
            trial.set_user_attr(_STATUS, "early-stopped")
            self._study.tell(trial, state=TrialState.PRUNED)
        elif code != 0:
            trial.set_user_attr(_STATUS, "failed")
            self._study.tell(trial, state=TrialState.FAIL)
        elif not finite:
            trial.set_user_attr(_STATUS, "metrics-unavailable")
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_user_attr(_STATUS, "succeeded")
            self._study.tell(trial, self._spec.objective.best(finite))

    def _may_start(self, running: int) -> bool:
        if len(self._ended()) + running >= self._spec.max_trials:
            return False
        if self._spec.algorithm.name != "grid":
            return True
        return bool(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def _is_over(self) -> bool:
        failed = [t for t in self._ended() if t.user_attrs[_STATUS] in ("failed", "metrics-unavailable")]
        if len(failed) >= max(1, self._spec.max_failed_trials):
            raise _too_many_failed(self._spec, self._folder, failed)
        best = _best(self._spec, self._ended())
        return best is not None and best.value is not None and self._spec.objective.reached(best.value)

    def _ended(self) -> list[FrozenTrial]:
        return _ended(self._study)

    def _say(self) -> None:
        ended = self._ended()
        best = _best(self._spec, ended)
        text = "no trial has succeeded yet"
        if best is not None:
            values = " ".join(f"{name}={_short(value)}" for name, value in best.params.items())
            text = f"best {self._spec.objective.metric}={best.value:.4f} with {values}"
        self._report(Progress("tune", len(ended), self._spec.max_trials, text))

    def _stop_trials(self) -> None:
        with self._lock:
            self._stopping = True
            for job in self._jobs.values():
                job.stop()

    def _result(self) -> TuneResult:
        ended = self._ended()
        best = _best(self._spec, ended)
        if best is None:
            raise JobFailed(
                f"the search {self._spec.name} ended without a best trial",
                f"{len(ended)} trials ended and none reported a finite {self._spec.objective.metric}",
                "look at the logs in " + str(self._folder),
            )
        trials = tuple(_trial(self._spec, trial) for trial in ended)
        return TuneResult(_trial(self._spec, best), trials, str(self._folder / "study.db"))


def _open_study(spec: TuneSpec, folder: Path) -> optuna.Study:
    """Create the study, or take up the one a killed search left, its interrupted trials to be run again."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", study_name=spec.name, direction=spec.objective.direction,
        load_if_exists=True, pruner=_pruner(spec),
    )  # fmt: skip
    if study.user_attrs.setdefault(_SPEC, fingerprint(spec)) != fingerprint(spec):
        raise Conflict(
            f"run {spec.run_id} has searched with other parameters", f"{folder} holds its study",
            "give the parameters it had, or another run id",
        )  # fmt: skip
    study.set_user_attr(_SPEC, fingerprint(spec))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    study.sampler = _sampler(spec.algorithm, len(study.get_trials(deepcopy=False)))
    if spec.algorithm.name == "grid":
        for values in itertools.islice(_combinations(spec), spec.max_trials):
            study.enqueue_trial(values, skip_if_exists=True)
    return study


def _combinations(spec: TuneSpec) -> Iterator[dict[str, Value]]:
    grids = [parameter.grid or () for parameter in spec.search_space]
    for values in itertools.product(*grids):
        yield dict(zip((parameter.name for parameter in spec.search_space), values, strict=True))


def _distribution(parameter: Dimension, algorithm: Algorithm) -> optuna.distributions.BaseDistribution:
    if algorithm.name == "hyperband" and parameter.name == algorithm.settings["resource_name"]:
        most = int(float(algorithm.settings["r_l"]))
        return optuna.distributions.IntDistribution(most, most)
    log = parameter.distribution == "logUniform"
    if parameter.type == "double":
        return optuna.distributions.FloatDistribution(
            parameter.min, parameter.max, log=log, step=parameter.step or None
        )
    if parameter.type == "int":
        step = int(parameter.step) or 1
        return optuna.distributions.IntDistribution(int(parameter.min), int(parameter.max), log=log, step=step)
    return optuna.distributions.CategoricalDistribution(parameter.values)


def _sampler(algorithm: Algorithm, already: int) -> optuna.samplers.BaseSampler:
    """Make Optuna's counterpart of a Katib algorithm.

    The seed moves on with the trials already made: a resumed search must not draw the same again.
    """
    number = {key: float(value) for key, value in algorithm.settings.items() if key.islower() and _numeric(value)}
    seed = int(number["random_state"]) + already if "random_state" in number else None
    if algorithm.name == "tpe":
        settings = algorithm.settings
        gamma = float(settings["gamma"]) if "gamma" in settings else None
        return optuna.samplers.TPESampler(
            n_ei_candidates=int(settings.get("n_EI_candidates", 24)), n_startup_trials=_startup(settings), seed=seed,
            gamma=(lambda trials: math.ceil(gamma * trials)) if gamma else None,
        )  # fmt: skip
    if algorithm.name == "multivariate-tpe":
        return optuna.samplers.TPESampler(
            multivariate=True, n_startup_trials=_startup(algorithm.settings),
            n_ei_candidates=int(number.get("n_ei_candidates", 24)), seed=seed,
        )  # fmt: skip
    if algorithm.name == "cmaes":
        return optuna.samplers.CmaEsSampler(sigma0=number.get("sigma"), seed=seed, warn_independent_sampling=False)
    if algorithm.name == "sobol":
        first = int(number["random_state"]) if "random_state" in number else 0
        return optuna.samplers.QMCSampler(scramble=True, seed=first, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed)


def _startup(settings: Mapping[str, str]) -> int:
    """Return how many random trials come before TPE's own; Optuna's default of 10 would use up a small budget."""
    return int(settings.get("n_startup_trials", 3))


def _pruner(spec: TuneSpec) -> optuna.pruners.BasePruner:
    if spec.algorithm.name == "hyperband":
        settings = spec.algorithm.settings
        most, eta = int(float(settings["r_l"])), int(float(settings.get("eta", "3")))
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=most, reduction_factor=eta)
    if spec.early_stopping is not None:
        return optuna.pruners.MedianPruner(
            n_startup_trials=spec.early_stopping.min_trials_required, n_warmup_steps=spec.early_stopping.start_step - 1
        )
    return optuna.pruners.NopPruner()


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count: not the ones a killed search left, which run again under another number."""
    return [
        trial for trial in study.get_trials(deepcopy=False) if _STATES.get(trial.user_attrs.get(_STATUS)) is trial.state
    ]


def _best(spec: TuneSpec, trials: list[FrozenTrial]) -> FrozenTrial | None:
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    sign = 1 if spec.objective.direction == "maximize" else -1
    return max(complete, key=lambda t: sign * (t.value or 0.0), default=None)


def _trial(spec: TuneSpec, trial: FrozenTrial) -> Trial:
    attributes = trial.user_attrs
    seen = attributes.get(_METRICS, {})
    value = trial.value if trial.state == TrialState.COMPLETE else seen.get(spec.objective.metric)
    return Trial(
        f"{spec.name}-{trial.number:03d}", attributes[_STATUS], dict(trial.params), value, seen,
        attributes.get(_SECONDS, 0.0),
    )  # fmt: skip


def _too_many_failed(spec: TuneSpec, folder: Path, failed: list[FrozenTrial]) -> JobFailed:
    last = failed[-1]
    reported = last.user_attrs.get(_STATUS) == "metrics-unavailable"
    reason = f"reported no finite {spec.objective.metric}" if reported else "ended non-zero"
    why = f"the last one, number {last.number}, {reason}; its log ends with\n{tail(_log(folder, last.number), 12)}"
    return JobFailed(
        f"{len(failed)} trials of {spec.name} failed; max_failed_trials is {spec.max_failed_trials}", why,
        f"mend the trainer or narrow the search space; all logs are in {folder}",
    )  # fmt: skip


def _log(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:03d}.log"


def _threads(parallel: int) -> int:
    return max(1, (os.cpu_count() or 1) // parallel)


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else format_value(value)


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except StorageInternalError as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise Unavailable(
            f"the study in {folder} cannot be written", cause, "free some space and run it again"
        ) from error
