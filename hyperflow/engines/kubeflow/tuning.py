"""Follow a Katib Experiment to its end."""

from __future__ import annotations

import time

from hyperflow.engines.kubeflow import explain, starting, trials
from hyperflow.engines.kubeflow.cluster import Backoff, Cluster, TransientError
from hyperflow.engines.kubeflow.headway import Headway, is_trial
from hyperflow.engines.kubeflow.jobs import NO_LIMIT, condition, create_or_adopt, deleted_unless_ended, seconds_left
from hyperflow.engines.kubeflow.manifests import experiment
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.manifests.experiment import EXPERIMENT_LABEL
from hyperflow.engines.kubeflow.queueing import QueueTime
from hyperflow.engines.kubeflow.resources import EVENT, EXPERIMENT, POD, SUGGESTION, TRIAL
from hyperflow.engines.kubeflow.starting import ACT_SECONDS, START_SECONDS
from hyperflow.engines.kubeflow.watch import Change, Feed
from hyperflow.errors import Conflict, JobFailed, JobTimeout
from hyperflow.progress import Progress, Tell
from hyperflow.specs import Trial, TuneResult, TuneSpec
from hyperflow.volume import paths

_COUNTS = (
    ("succeeded", "trialsSucceeded"),
    ("failed", "trialsFailed"),
    ("early stopped", "trialsEarlyStopped"),
    ("without metrics", "trialMetricsUnavailable"),
    ("killed", "trialsKilled"),
)


_LEFTOVERS_SECONDS = 60.0


class Tuning:
    """One search.

    Args:
        cluster: Where it runs.
        spec: What to search for.
        tell: Told of every step forward.
        act_seconds: Seconds that Katib has to act on the Experiment.
        start_seconds: Seconds for which a pod that cannot start is borne.
    """

    def __init__(
        self,
        cluster: Cluster,
        spec: TuneSpec,
        tell: Tell,
        act_seconds: float = ACT_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._cluster, self._spec, self._tell, self._act_seconds = cluster, spec, tell, act_seconds
        self._headway = Headway(spec.name, spec.algorithm.name, start_seconds)
        self._queue = QueueTime(bool(spec.compute.queue), paths.queue_time(spec.run_id))
        self._said: set[str] = set()

    def run(self) -> TuneResult:
        """Create or adopt the Experiment and return what it found."""
        wanted = experiment(self._spec)
        live = self._cluster.get(EXPERIMENT, self._spec.name)
        if live is None or "deletionTimestamp" in live["metadata"]:
            self._await_leftovers()
        item = create_or_adopt(self._cluster, EXPERIMENT, wanted)
        with deleted_unless_ended(self._cluster, EXPERIMENT, item), Feed(self._cluster) as feed:
            self._watch(feed)
            ended = self._follow(item, feed)
        return self._result(ended)

    def _await_leftovers(self) -> None:
        """Wait until what a deleted search left has gone: Katib counts every trial of that name as the new one's."""
        deadline, backoff, name = time.monotonic() + _LEFTOVERS_SECONDS, Backoff(), self._spec.name
        while left := len(self._trial_items()) + bool(self._cluster.get(SUGGESTION, name)):
            if time.monotonic() > deadline:
                raise Conflict(
                    f"{left} trials and suggestions of an earlier search {name} are still there",
                    "Katib would take them for this search's",
                    f"see what keeps them: `kubectl get trials,suggestions -l {EXPERIMENT_LABEL}={name} -o yaml`",
                )
            backoff.pause(TransientError("they are being deleted"))

    def _watch(self, feed: Feed) -> None:
        """Follow the Experiment, its pods (its algorithm's too), and what is told of them and of those never made."""
        name = self._spec.name
        feed.watch(EXPERIMENT, fieldSelector=f"metadata.name={name}")
        feed.watch(POD, labelSelector=f"{EXPERIMENT_LABEL}={name}")
        feed.watch(EVENT, needed=False, fieldSelector=f"involvedObject.name={name}")
        for reason in starting.REFUSALS:
            feed.watch(EVENT, needed=False, fieldSelector=f"reason={reason}")

    def _follow(self, item: Manifest, feed: Feed) -> Manifest:
        name, uid = item["metadata"]["name"], item["metadata"]["uid"]
        while not _has_ended(item):
            change = feed.next(self._seconds_left(item))
            if change is None or self._headway.problem:
                raise self._given_up(item)
            if not isinstance(change, Change):
                continue
            if change.resource is EXPERIMENT and change.object["metadata"]["uid"] == uid:
                if change.deleted:
                    raise JobFailed(f"Experiment {name} was deleted while it ran", "", "start a new run")
                item = change.object
            self._see(change, item)
        return item

    def _see(self, change: Change, item: Manifest) -> None:
        """Report what a change tells of the search, where it is new."""
        if change.resource is EXPERIMENT:
            self._queue.see_open(_open_trials(item))
            texts = [_so_far(item, self._spec)]
        elif change.resource is POD:
            if is_trial(change.object):
                self._queue.see_pod(change.object, change.deleted)
            texts = self._headway.see_pod(change.object, change.deleted)
        else:
            texts = [self._headway.see_event(change.object, _open_trials(item))]
        for text in texts:
            done = _done(item)
            if text and f"{done} {text}" not in self._said:
                self._said.add(f"{done} {text}")
                self._tell(Progress("tune", done, self._spec.max_trials, text))

    def _seconds_left(self, item: Manifest) -> float:
        """Return for how long to wait for the next change."""
        left = min(self._time_left(item), self._headway.seconds_left)
        return left if starting.has_begun(item) else min(left, seconds_left(item, self._act_seconds))

    def _time_left(self, item: Manifest) -> float:
        """Return how much of the search's time is left; what its trials wait in a queue costs none of it."""
        if self._queue.is_waiting:
            return NO_LIMIT
        return seconds_left(item, self._spec.timeout + self._queue.seconds)

    def _given_up(self, item: Manifest) -> JobFailed:
        """Word what was waited for in vain; what nobody follows any more must not begin to run later."""
        if self._time_left(item) <= 0:
            return self._timeout(item)
        if problem := self._headway.problem:
            failure = self._failure(f"the search {self._spec.name} was given up, as {problem}")
        else:
            failure = starting.untouched(EXPERIMENT, item, self._act_seconds)
        self._cluster.delete(EXPERIMENT, item["metadata"]["name"], item["metadata"]["uid"])
        return failure

    def _result(self, item: Manifest) -> TuneResult:
        name = item["metadata"]["name"]
        failed = condition(item, "Failed")
        if failed:
            raise self._failure(f"the search {name} failed: {failed.get('message') or failed.get('reason')}")
        found = self._trials()
        best_name = (item["status"].get("currentOptimalTrial") or {}).get("bestTrialName")
        best = next((trial for trial in found if trial.name == best_name), None)
        if best is None:
            raise self._failure(f"the search {name} ended without a best trial, although Katib calls it a success")
        if not trials.is_usable(best.value):
            metric = self._spec.objective.metric
            raise self._failure(f"the best trial of {name}, {best.name}, has no finite {metric}")
        return TuneResult(best, found, f"Experiment {self._cluster.namespace}/{name}")

    def _trials(self) -> tuple[Trial, ...]:
        return trials.read(self._spec, self._trial_items())

    def _trial_items(self) -> list[Manifest]:
        selector = f"{EXPERIMENT_LABEL}={self._spec.name}"
        items: list[Manifest] = self._cluster.list(TRIAL, labelSelector=selector)["items"]
        return items

    def _failure(self, what: str) -> JobFailed:
        why = "\n".join(self._causes())
        name = self._spec.name
        otherwise = f"mend the cause and start a new run (or `kubectl delete experiment {name}` and retry this one)"
        return JobFailed(what, why, explain.hint(f"{what}\n{why}", otherwise))

    def _causes(self) -> list[str]:
        """Collect conditions, suggestion and trial reasons, events and the log of the last failed trial."""
        cluster, name = self._cluster, self._spec.name
        item = cluster.get(EXPERIMENT, name)
        lines = explain.conditions(item) if item else []
        lines += explain.suggestion(cluster, name)
        found = self._trial_items()
        bad = [trial for trial in found if condition(trial, "Failed") or condition(trial, "MetricsUnavailable")]
        if found:
            metric = self._spec.objective.metric
            usable = sum(trials.is_usable(trial.value) for trial in trials.read(self._spec, found))
            lines.append(f"{len(bad)} of {len(found)} trials failed; {usable} gave a finite {metric}")
        for trial in bad[-1:]:
            trial_name = trial["metadata"]["name"]
            reasons = explain.conditions(trial, bad=("Failed", "MetricsUnavailable"))
            lines += [f"trial {trial_name} {reason}" for reason in reasons]
            lines += self._pods(trial_name)
        return lines + explain.events(cluster, [name])

    def _pods(self, job: str) -> list[str]:
        label = "batch.kubernetes.io/job-name" if self._spec.workers == 1 else "training.kubeflow.org/job-name"
        pods = explain.pods_of(self._cluster, f"{label}={job}")
        names = [job, *(pod["metadata"]["name"] for pod in pods)]
        return [
            *explain.pod_states(pods),
            *explain.events(self._cluster, names),
            *explain.log_tail(self._cluster, pods),
        ]

    def _timeout(self, item: Manifest) -> JobTimeout:
        name, spec = self._spec.name, self._spec
        waiting = f"{_done(item)} of {spec.max_trials} trials have ended, {_open_trials(item)} are open"
        told = [*explain.suggestion(self._cluster, name, waiting=True), *explain.events(self._cluster, [name])]
        unended = [trial["metadata"]["name"] for trial in self._trial_items() if _is_open(trial)]
        why = "\n".join([waiting, *told, *(line for trial in unended[:1] for line in self._pods(trial))])
        what = f"the search {name} had not ended after {spec.timeout} s"
        return JobTimeout(what, why, explain.hint(why, "raise tune_timeout, or ask for fewer trials or epochs"))


def _has_ended(item: Manifest) -> bool:
    return bool(condition(item, "Failed") or condition(item, "Succeeded"))


def _is_open(trial: Manifest) -> bool:
    return not any(condition(trial, kind) for kind in trials.ENDS)


def _done(item: Manifest) -> int:
    status = item.get("status", {})
    return sum(status.get(field, 0) for _, field in _COUNTS)


def _open_trials(item: Manifest) -> int:
    status = item.get("status", {})
    return int(status.get("trialsRunning", 0)) + int(status.get("trialsPending", 0))


def _so_far(item: Manifest, spec: TuneSpec) -> str:
    """Word how far the search is, beside the number of trials that have ended."""
    status = item.get("status", {})
    parts = [_best_so_far(item, spec)]
    parts += [f"{status[field]} {word}" for word, field in _COUNTS[1:] if status.get(field)]
    parts += [f"{status['trialsRunning']} running"] if status.get("trialsRunning") else []
    return ", ".join(part for part in parts if part)


def _best_so_far(item: Manifest, spec: TuneSpec) -> str:
    optimal = item.get("status", {}).get("currentOptimalTrial") or {}
    value = trials.objective(spec, optimal)
    if not trials.is_usable(value) or not optimal.get("bestTrialName"):
        return ""
    assigned = " ".join(f"{entry['name']}={entry['value']}" for entry in optimal.get("parameterAssignments") or [])
    return f"best {spec.objective.metric}={value:g} with {assigned}"
