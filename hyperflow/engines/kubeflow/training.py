"""Follow a training to its end, whatever carries it out."""

from __future__ import annotations

from hyperflow import metrics
from hyperflow.engines.kubeflow import evidence, explain, starting
from hyperflow.engines.kubeflow.backends import TFJOBS, Backend
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.incidents import Incidents
from hyperflow.engines.kubeflow.jobs import (
    create_beside,
    create_or_adopt,
    deleted_unless_ended,
    failed,
    has_ended,
    seconds_left,
)
from hyperflow.engines.kubeflow.manifests import work
from hyperflow.engines.kubeflow.manifests.common import Manifest, in_step
from hyperflow.engines.kubeflow.resources import EVENT, NETWORK, POD
from hyperflow.engines.kubeflow.starting import ACT_SECONDS, START_SECONDS, Starting
from hyperflow.engines.kubeflow.watch import Feed, Line
from hyperflow.errors import JobFailed, JobTimeout
from hyperflow.progress import Progress, Tell
from hyperflow.specs import TrainResult, TrainSpec
from hyperflow.volume.paths import is_model

_STARTED = ("Running", "Succeeded", "Failed")


class Training:
    """One training: its job, its pods and what its chief printed.

    Args:
        cluster: Where it runs.
        spec: What to train.
        tell: Told of every step forward.
        act_seconds: Seconds that the controller has to act on the job.
        start_seconds: Seconds for which a pod that cannot start is borne.
        backend: What carries it out.
    """

    def __init__(
        self,
        cluster: Cluster,
        spec: TrainSpec,
        tell: Tell,
        act_seconds: float = ACT_SECONDS,
        start_seconds: float = START_SECONDS,
        backend: Backend = TFJOBS,
    ) -> None:
        self._backend, self._resource = backend, backend.resource
        self._cluster, self._spec, self._tell, self._act_seconds = cluster, spec, tell, act_seconds
        self._starting, self._incidents = Starting(start_seconds), Incidents()
        self._pods: dict[str, Manifest] = {}
        self._followed: dict[str, list[str]] = {}
        self._faults: dict[str, list[str]] = {}
        self._said: set[str] = set()

    def run(self) -> TrainResult:
        """Create or adopt the job and return what it trained."""
        asked = work.training(self._spec)
        item = create_or_adopt(self._cluster, self._resource, self._backend.build(asked))
        with deleted_unless_ended(self._cluster, self._resource, item), Feed(self._cluster) as feed:
            if self._backend.network and asked.workers > 1 and not has_ended(item):
                create_beside(self._cluster, NETWORK, self._backend.network(asked), item, self._resource)
            feed.watch(self._resource, fieldSelector=f"metadata.name={self._spec.name}")
            feed.watch(POD, labelSelector=self._selector)
            feed.watch(EVENT, needed=False, fieldSelector=f"involvedObject.name={self._spec.name}")
            ended = self._follow(item, feed)
        return self._result(ended)

    @property
    def _selector(self) -> str:
        return self._backend.selector(self._spec.name)

    def _follow(self, item: Manifest, feed: Feed) -> Manifest:
        uid = item["metadata"]["uid"]
        while not has_ended(item):
            change = feed.next(self._seconds_left(item))
            if change is None:
                raise self._given_up(item)
            if isinstance(change, Line):
                self._line(change)
            elif change.resource is POD:
                self._pod(change.object, change.deleted, feed)
            elif change.resource is EVENT:
                self._say(self._starting.see_event(change.object))
            elif change.object["metadata"]["uid"] == uid:
                if change.deleted:
                    raise JobFailed(
                        f"{self._resource.kind} {self._spec.name} was deleted while it ran", "", "start a new run"
                    )
                item = change.object
        return item

    def _seconds_left(self, item: Manifest) -> float:
        """Return for how long to wait for the next change."""
        left = min(seconds_left(item, self._spec.timeout), self._starting.seconds_left)
        return left if self._has_begun(item) else min(left, starting.seconds_to_act(item, self._act_seconds))

    def _has_begun(self, item: Manifest) -> bool:
        """Tell whether the operator has acted: it sets no condition as long as it may not create a pod."""
        return starting.has_begun(item) or bool(self._pods) or bool(self._starting.problem)

    def _given_up(self, item: Manifest) -> JobFailed:
        """Word what was waited for in vain; what nobody follows any more must not begin to run later."""
        name = self._spec.name
        if self._starting.seconds_left <= 0:
            failure = self._failure(f"the training {name} cannot start: {self._starting.problem}")
        elif not self._has_begun(item) and self._act_seconds < self._spec.timeout:
            failure = starting.untouched(self._resource, item, self._act_seconds)
        else:
            return self._timeout()
        self._cluster.delete(self._resource, name, item["metadata"]["uid"])
        return failure

    def _line(self, line: Line) -> None:
        self._followed.setdefault(line.pod, []).append(line.text)
        values = metrics.parse_line(line.text)
        if "epoch" in values:
            self._tell(Progress("train", int(values["epoch"]), self._spec.epochs_in_all, line.text))

    def _pod(self, pod: Manifest, deleted: bool, feed: Feed) -> None:
        """Follow a chief that has started; keep what a failed pod said, for the operator may replace it at once."""
        uid, phase = pod["metadata"]["uid"], pod.get("status", {}).get("phase")
        self._pods[uid] = pod
        self._incidents.see(uid)
        self._starting.see_pod(pod, deleted)
        if self._backend.leads(pod) and phase in _STARTED and uid not in self._followed:
            self._followed[uid] = []
            feed.follow_log(pod, self._backend.container)
        if phase == "Pending":
            for text in explain.pod_states([pod]):
                self._say(text)
        if phase == "Failed" and uid not in self._faults:
            self._faults[uid] = [*explain.pod_states([pod]), *explain.log_tail(self._cluster, [pod])]
            evidence.keep(self._spec.run_id, f"{pod['metadata']['name']}-{uid[:8]}", self._faults[uid])
            if not (self._backend.forgives and explain.is_disrupted(pod)):
                self._incidents.failed(uid)
                self._check_restarts()

    def _say(self, text: str) -> None:
        """Report why a pod does not start, once a reason: an image or a node may be long in coming."""
        if text and text not in self._said:
            self._said.add(text)
            self._tell(Progress("train", 0, self._spec.epochs_in_all, text))

    def _check_restarts(self) -> None:
        """End a job that restarts for ever: the operator does not count the pods that it replaces."""
        times, retries = self._incidents.count, self._spec.retries
        if 0 < retries < times:
            failure = self._failure(f"the training {self._spec.name} failed {times} times; it has {retries} retries")
            self._cluster.delete(self._resource, self._spec.name)
            raise failure

    def _result(self, item: Manifest) -> TrainResult:
        bad = failed(item)
        if bad:
            text = bad.get("message") or bad.get("reason", "")
            raise self._failure(f"the training {self._spec.name} failed: {text}", explain.conditions(item))
        lines = self._lines()
        if not is_model(in_step(self._spec.model_path, "model_path")):
            why = "\n".join([f"there is no SavedModel and no ONNX model at {self._spec.model_path}", *_last(lines)])
            remedy = "have the trainer write one to --model-path; see whether step and job mount one claim"
            raise JobFailed(f"the training {self._spec.name} ended without a model", why, remedy)
        location = f"{self._resource.kind} {self._cluster.namespace}/{self._spec.name}"
        return TrainResult(self._spec.model_path, metrics.latest(lines), metrics.curve(lines), location)

    def _lines(self) -> list[str]:
        """Return all that the chief printed; what its last pod said after we stopped listening is read here."""
        chiefs = [pod for pod in explain.pods_of(self._cluster, self._selector) if self._backend.leads(pod)]
        for pod in sorted(chiefs, key=lambda pod: str(pod["metadata"].get("creationTimestamp"))):
            uid, log = pod["metadata"]["uid"], self._cluster.log(pod["metadata"]["name"], self._backend.container)
            for text in [line for line in log.split("\n") if line][len(self._followed.get(uid, ())) :]:
                self._line(Line(uid, text))
        return [line for lines in self._followed.values() for line in lines]

    def _failure(self, what: str, why: list[str] | None = None) -> JobFailed:
        pods = explain.pods_of(self._cluster, self._selector)
        live = {pod["metadata"]["uid"] for pod in pods}
        lines = [*(why or []), *explain.pod_states(pods)]
        lines += explain.events(self._cluster, [self._spec.name, *(pod["metadata"]["name"] for pod in pods)])
        lines += explain.log_tail(
            self._cluster, [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed"]
        )
        gone = [fault for uid, fault in self._faults.items() if uid not in live]
        lines += gone[-1] if gone else []
        text = "\n".join(lines)
        name, kind = self._spec.name, self._resource.kind.lower()
        otherwise = f"mend the cause and start a new run (or `kubectl delete {kind} {name}` and retry this one)"
        return JobFailed(what, text, explain.hint(text, otherwise))

    def _timeout(self) -> JobTimeout:
        phases = [
            f"{pod['metadata']['name']} is {pod.get('status', {}).get('phase', 'not there')}"
            for pod in self._pods.values()
        ]
        failure = self._failure("", [f"waited for: {', '.join(phases) or 'its first pod'}"])
        what = f"the training {self._spec.name} had not ended after {self._spec.timeout} s"
        return JobTimeout(what, failure.why, explain.hint(failure.why, "raise train_timeout, or lower epochs"))


def _last(lines: list[str]) -> list[str]:
    return ["the chief's last lines:", *(f"  {line}" for line in lines[-10:])] if lines else []
