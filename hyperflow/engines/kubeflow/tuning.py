"""Follow a Katib Experiment to its end."""

from __future__ import annotations

from hyperflow.engines.kubeflow import explain, trials
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.jobs import condition, create_or_adopt, deleted_unless_ended, seconds_left
from hyperflow.engines.kubeflow.manifests import experiment
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.resources import EXPERIMENT, TRIAL
from hyperflow.engines.kubeflow.watch import Change, Feed
from hyperflow.errors import JobFailed, JobTimeout
from hyperflow.progress import Progress, Report
from hyperflow.specs import Trial, TuneResult, TuneSpec

_COUNTS = (
    ("succeeded", "trialsSucceeded"),
    ("failed", "trialsFailed"),
    ("early stopped", "trialsEarlyStopped"),
    ("without metrics", "trialMetricsUnavailable"),
    ("killed", "trialsKilled"),
)


class Tuning:
    """One search."""

    def __init__(self, cluster: Cluster, spec: TuneSpec, report: Report) -> None:
        self._cluster, self._spec, self._report = cluster, spec, report
        self._said = ""

    def run(self) -> TuneResult:
        """Create or adopt the Experiment and return what it found."""
        item = create_or_adopt(self._cluster, EXPERIMENT, experiment(self._spec))
        with deleted_unless_ended(self._cluster, EXPERIMENT, item):
            ended = self._follow(item)
        return self._result(ended)

    def _follow(self, item: Manifest) -> Manifest:
        name, uid = item["metadata"]["name"], item["metadata"]["uid"]
        with Feed(self._cluster) as feed:
            feed.watch(EXPERIMENT, fieldSelector=f"metadata.name={name}")
            while not _has_ended(item):
                change = feed.next(seconds_left(item, self._spec.timeout))
                if change is None:
                    raise self._timeout(item)
                if not isinstance(change, Change) or change.object["metadata"]["uid"] != uid:
                    continue
                if change.deleted:
                    raise JobFailed(f"Experiment {name} was deleted while it ran", "", "start a new run")
                item = change.object
                self._say(item)
        return item

    def _say(self, item: Manifest) -> None:
        """Report how far the search is, where that has changed."""
        status = item.get("status", {})
        done = sum(status.get(field, 0) for _, field in _COUNTS)
        parts = [f"{status[field]} {word}" for word, field in _COUNTS[1:] if status.get(field)]
        parts += [f"{status['trialsRunning']} running"] if status.get("trialsRunning") else []
        best = _best_so_far(item, self._spec)
        text = ", ".join([best, *parts] if best else parts)
        if text and f"{done} {text}" != self._said:
            self._said = f"{done} {text}"
            self._report(Progress("tune", done, self._spec.max_trials, text))

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
        selector = f"katib.kubeflow.org/experiment={self._spec.name}"
        items: list[Manifest] = self._cluster.list(TRIAL, labelSelector=selector)["items"]
        return items

    def _failure(self, what: str) -> JobFailed:
        why = "\n".join(self._causes())
        name = self._spec.name
        otherwise = f"mend the cause and start a new run (or `kubectl delete experiment {name}` and retry this one)"
        return JobFailed(what, why, explain.hint(why, otherwise))

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
        status = item.get("status", {})
        done = sum(status.get(field, 0) for _, field in _COUNTS)
        waiting = f"{done} of {self._spec.max_trials} trials have ended, {status.get('trialsRunning', 0)} run"
        running = [trial["metadata"]["name"] for trial in self._trial_items() if _is_open(trial)]
        why = "\n".join([waiting, *(line for name in running[:1] for line in self._pods(name))])
        what = f"the search {self._spec.name} had not ended after {self._spec.timeout} s"
        return JobTimeout(what, why, explain.hint(why, "raise tune_timeout, or ask for fewer trials or epochs"))


def _has_ended(item: Manifest) -> bool:
    return bool(condition(item, "Failed") or condition(item, "Succeeded"))


def _is_open(trial: Manifest) -> bool:
    return not any(condition(trial, kind) for kind in ("Succeeded", "Failed", "Killed", "EarlyStopped"))


def _best_so_far(item: Manifest, spec: TuneSpec) -> str:
    optimal = item.get("status", {}).get("currentOptimalTrial") or {}
    metrics = {metric["name"]: metric for metric in optimal.get("observation", {}).get("metrics") or []}
    strategy = "max" if spec.objective.direction == "maximize" else "min"
    value = metrics.get(spec.objective.metric, {}).get(strategy)
    if not value or not optimal.get("bestTrialName"):
        return ""
    assigned = " ".join(f"{entry['name']}={entry['value']}" for entry in optimal.get("parameterAssignments") or [])
    return f"best {spec.objective.metric}={value} with {assigned}"
