"""Search with Optuna in Katib's place: the study on the volume, the trials wherever their runner has them.

The words mean what they mean in Katib: a trial's value is the best its trainer reported; a trial
that ends non-zero has failed; the search fails when `max_failed_trials` have, succeeds at the goal,
when `max_trials` have ended or when there is nothing left to try, and has failed all the same when
no trial gave a finite value.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from optuna.trial import FrozenTrial

from hyperflow.engines.search import checkpoints, queues, samplers
from hyperflow.engines.search import study as studies
from hyperflow.engines.search.trials import Runner, Trials
from hyperflow.errors import JobFailed, JobTimeout
from hyperflow.progress import Progress, Tell
from hyperflow.specs import TuneResult, TuneSpec, Value, format_value

_BLOCK = 0.1  # seconds; a signal that comes just before the wait, or to another thread, would not end it
_GLANCE = 5.0  # seconds after which it looks whether time is left, which grows while trials wait in a queue

Futures = set[Future[None]]


def check(spec: TuneSpec) -> None:
    """Refuse an algorithm, or a setting of it, that this search has not got.

    Raises:
        InvalidParameter: It has not.
    """
    samplers.make(spec.algorithm, len(spec.search_space))
    queues.check(spec)


class Search:
    """One search, from the first trial or from where a killed one stopped.

    Args:
        spec: What to search for.
        folder: Where study and logs are kept; this search's own.
        tell: Told of every trial that ends.
        runner: What runs the trials.
    """

    def __init__(self, spec: TuneSpec, folder: Path, tell: Tell, runner: Runner) -> None:
        self._spec, self._folder, self._tell, self._runner = spec, folder, tell, runner

    def run(self) -> TuneResult:
        """Run trials until the search has ended, well or badly."""
        with studies.storage_errors(self._folder):
            self._study = studies.open_study(self._spec, self._folder, self._runner.survives)
            self._distributions = queues.distributions(self._spec)
            self._queue = queues.queue(self._spec, self._study)
            trials = Trials(self._spec, self._study, self._folder, self._runner)
            with ThreadPoolExecutor(self._spec.parallel_trials) as pool, self._stopping_trials():
                self._loop(pool, trials)
            result = self._result()
        checkpoints.delete(self._folder)
        return result

    def _loop(self, pool: ThreadPoolExecutor, trials: Trials) -> None:
        self._ends = time.monotonic() + self._seconds()
        left = [] if self._is_over() else studies.unfinished(self._study)
        running = {pool.submit(trials.run, trial) for trial in left}
        while not self._is_over():
            while len(running) < self._spec.parallel_trials and self._may_start(len(running)):
                running.add(pool.submit(trials.run, self._study.ask(self._distributions)))
            if not running:
                return
            ended, running = _next(running, min(_GLANCE, max(0.0, self._seconds_left())))
            for future in ended:
                future.result()
                self._say()
            if not ended and self._seconds_left() <= 0:
                why = f"{len(self._ended())} of {self._spec.max_trials} trials had ended"
                raise JobTimeout(
                    f"the search {self._spec.name} took more than {self._spec.timeout} s", why,
                    "raise tune_timeout, or make trials shorter with trial_epochs",
                )  # fmt: skip

    @contextmanager
    def _stopping_trials(self) -> Iterator[None]:
        """Let no trial outlive the search; one that may go on later leaves its trials to whoever can keep them."""
        for_good = False
        try:
            yield
            for_good = True
        except JobFailed:
            for_good = True
            raise
        finally:
            self._runner.stop(for_good)

    def _seconds(self) -> float:
        """Return how much time there is from now; where trials go on without the search, so does their time."""
        began = studies.began(self._study) if self._runner.survives else time.time()
        return began + self._spec.timeout - time.time()

    def _seconds_left(self) -> float:
        """Return how much time is left; what all trials wait in a queue costs none of it."""
        return self._ends + self._runner.seconds_queued() - time.monotonic()

    def _may_start(self, running: int) -> bool:
        return len(self._ended()) + running < self._spec.max_trials and self._queue.ready()

    def _is_over(self) -> bool:
        ended = self._ended()
        failed = studies.failed(ended)
        if len(failed) >= max(1, self._spec.max_failed_trials):
            raise self._too_many_failed(failed)
        best = studies.best(self._spec, ended)
        return best is not None and best.value is not None and self._spec.objective.reached(best.value)

    def _ended(self) -> list[FrozenTrial]:
        return studies.ended(self._study)

    def _say(self) -> None:
        ended = self._ended()
        best = studies.best(self._spec, ended)
        text = "no trial has succeeded yet"
        if best is not None:
            values = " ".join(f"{name}={_short(value)}" for name, value in best.params.items())
            text = f"best {self._spec.objective.metric}={best.value:.4f} with {values}"
        self._tell(Progress("tune", len(ended), self._spec.max_trials, text))

    def _result(self) -> TuneResult:
        ended = self._ended()
        best = studies.best(self._spec, ended)
        if best is None:
            raise JobFailed(
                f"the search {self._spec.name} ended without a best trial",
                f"{len(ended)} trials ended and none reported a finite {self._spec.objective.metric}",
                "look at the logs in " + str(self._folder),
            )
        trials = tuple(studies.as_value(self._spec, trial) for trial in ended)
        return TuneResult(studies.as_value(self._spec, best), trials, str(self._folder / studies.FILE))

    def _too_many_failed(self, failed: list[FrozenTrial]) -> JobFailed:
        spec, last = self._spec, failed[-1]
        reported = last.user_attrs.get(studies.STATUS) == "metrics-unavailable"
        reason = f"reported no finite {spec.objective.metric}"
        if not reported:
            reason = f"ended with exit code {last.user_attrs.get(studies.EXIT_CODE, 'unknown')}"
        return JobFailed(
            f"{len(failed)} of at most {spec.max_trials} trials of {spec.name} failed, {_allowed(spec)}",
            f"the last one, number {last.number}, {reason}; {self._runner.last_words(last.number)}",
            f"mend the trainer or narrow the search space; all logs are in {self._folder}",
        )


def _next(running: Futures, seconds: float) -> tuple[Futures, Futures]:
    """Wait for a trial's end; return those that have ended, and those that run."""
    ends = time.monotonic() + seconds
    while True:
        ended, running = wait(running, min(_BLOCK, max(0.0, ends - time.monotonic())), FIRST_COMPLETED)
        if ended or time.monotonic() >= ends:
            return ended, running


def _allowed(spec: TuneSpec) -> str:
    if spec.max_failed_trials >= spec.max_trials:
        return "which leaves none to succeed"
    return f"and max_failed_trials is {spec.max_failed_trials}"


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else format_value(value)
