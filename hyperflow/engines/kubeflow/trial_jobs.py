"""Run the trials of our own search as Jobs, or as what the training backend makes where a trial has several workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from hyperflow.engines.kubeflow import explain, starting
from hyperflow.engines.kubeflow.backends import Backend
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.engines.kubeflow.jobs import (
    create_beside,
    create_or_adopt,
    delete_for,
    failed,
    has_ended,
    seconds_left,
)
from hyperflow.engines.kubeflow.manifests import work
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.queueing import QueueTime
from hyperflow.engines.kubeflow.resources import EVENT, NETWORK, POD
from hyperflow.engines.kubeflow.starting import ACT_SECONDS, START_SECONDS, Starting
from hyperflow.engines.kubeflow.watch import Change, Feed, Line
from hyperflow.engines.search import Checkpoints, Reader, log_of
from hyperflow.errors import JobFailed
from hyperflow.specs import TuneSpec, Value
from hyperflow.volume import MOUNT_PATH, paths, writable

_STARTED = ("Running", "Succeeded", "Failed")
_GLANCE = 5.0  # seconds after which a trial looks whether the search has been stopped, should no change tell it


class TrialJobs:
    """The trials of one search that run now; each is named by its number, and so found again after a kill.

    Args:
        cluster: Where they run.
        spec: What is searched for.
        folder: Where their logs are kept, for the pods' own go with the pods.
        backend: What carries a trial out.
        act_seconds: Seconds that the controller has to act on a job.
        start_seconds: Seconds for which a pod that cannot start is borne.
    """

    survives = True

    def __init__(
        self,
        cluster: Cluster,
        spec: TuneSpec,
        folder: Path,
        backend: Backend,
        act_seconds: float = ACT_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._cluster, self._spec, self._folder, self._backend = cluster, spec, folder, backend
        self._seconds = act_seconds, start_seconds
        self._running: dict[int, Manifest] = {}
        self._words: dict[int, str] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._queue = QueueTime(bool(spec.compute.queue), paths.queue_time(spec.run_id))

    def run(
        self, number: int, parameters: Mapping[str, Value], reader: Reader, checkpoints: Checkpoints | None
    ) -> int | None:
        """Create or adopt a trial's job and follow it to its end."""
        seen_from_pods = paths.tuning(self._spec.run_id, Path(MOUNT_PATH))
        kept = checkpoints.environment(seen_from_pods) if checkpoints else {}
        asked = work.trial(self._spec, number, parameters, kept)
        item = self._begin(number, asked)
        if item is None:
            return None
        with Feed(self._cluster) as feed:
            trial = _Trial(
                self._cluster, self._backend, item, log_of(self._folder, number), reader, self._seconds, self._see_pod
            )
            code = trial.follow(feed, self._stopping)
        with self._lock:
            del self._running[number]
            self._queue.see_open(len(self._running))
        self._words[number] = trial.words()
        return None if self._stopping.is_set() else code

    def stop(self, for_good: bool) -> None:
        """Delete what runs; where the search may go on later, only if its run does not."""
        with self._lock:
            self._stopping.set()
            running = list(self._running.values())
        for item in running:
            delete_for(self._cluster, self._backend.resource, item, for_good=for_good)

    def seconds_queued(self) -> float:
        """Return for how long all trials that ran waited in Kueue's queue."""
        with self._lock:
            return self._queue.seconds

    def _see_pod(self, pod: Manifest, deleted: bool) -> None:
        with self._lock:
            self._queue.see_pod(pod, deleted)

    def last_words(self, number: int) -> str:
        """Return the states of a trial's pods and the end of its log."""
        return self._words.get(number, "") or f"see {log_of(self._folder, number)}"

    def _begin(self, number: int, asked: work.Work) -> Manifest | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            item = create_or_adopt(self._cluster, self._backend.resource, self._backend.build(asked))
            self._running[number] = item
            self._queue.see_open(len(self._running))
        if self._backend.network and asked.workers > 1 and not has_ended(item):
            create_beside(self._cluster, NETWORK, self._backend.network(asked), item, self._backend.resource)
        return item


class _Trial:
    """One trial's job as it goes on."""

    def __init__(
        self,
        cluster: Cluster,
        backend: Backend,
        item: Manifest,
        log: Path,
        reader: Reader,
        seconds: tuple[float, float],
        see_pod: Callable[[Manifest, bool], None],
    ) -> None:
        self._cluster, self._backend, self._item, self._log, self._reader = cluster, backend, item, log, reader
        self._act_seconds, self._starting = seconds[0], Starting(seconds[1])
        self._name, self._see_pod = item["metadata"]["name"], see_pod
        self._leader, self._read = "", 0
        self._pods: dict[str, Manifest] = {}

    def follow(self, feed: Feed, stopping: threading.Event) -> int:
        """Read what the trial prints until it has ended; return its exit code."""
        feed.watch(self._backend.resource, fieldSelector=f"metadata.name={self._name}")
        feed.watch(POD, labelSelector=self._backend.selector(self._name))
        feed.watch(EVENT, needed=False, fieldSelector=f"involvedObject.name={self._name}")
        while not has_ended(self._item) and not stopping.is_set():
            change = feed.next(min(_GLANCE, self._seconds_left()))
            if change is None:
                self._check_start()
            elif isinstance(change, Line):
                self._line(change)
            elif change.resource is POD:
                self._pod(change, feed)
            elif change.resource is EVENT:
                self._starting.see_event(change.object)
            elif not self._job(change) and not stopping.is_set():
                raise JobFailed(f"{self._backend.resource.kind} {self._name} was deleted while it ran")
            if self._reader.pruned:
                self._cluster.delete(self._backend.resource, self._name, self._item["metadata"]["uid"])
                return 0
        return self._end()

    def words(self) -> str:
        """Say how the pods ended, and what the last of them printed."""
        pods = list(self._pods.values())
        bad = [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed"]
        text = "\n".join([*explain.pod_states(pods), *explain.log_tail(self._cluster, bad)])
        return f"its pods:\n{text}" if text else ""

    def _seconds_left(self) -> float:
        left = self._starting.seconds_left
        return left if self._has_begun() else min(left, seconds_left(self._item, self._act_seconds))

    def _has_begun(self) -> bool:
        return starting.has_begun(self._item) or bool(self._pods) or bool(self._starting.problem)

    def _check_start(self) -> None:
        """Give the search up where a trial cannot start: no other one would."""
        if self._starting.problem and self._starting.seconds_left <= 0:
            why, words = self._starting.problem, self.words()
            raise JobFailed(f"trial {self._name} cannot start: {why}", words, explain.hint(why, "mend the cause"))
        if not self._has_begun() and seconds_left(self._item, self._act_seconds) <= 0:
            raise starting.untouched(self._backend.resource, self._item, self._act_seconds)

    def _job(self, change: Change) -> bool:
        """Take the job in as it is now; return whether it is still there."""
        if change.object["metadata"]["uid"] != self._item["metadata"]["uid"]:
            return True
        self._item = change.object
        return not change.deleted

    def _pod(self, change: Change, feed: Feed) -> None:
        """Follow the pod that leads; another one in its place begins anew."""
        pod, uid = change.object, change.object["metadata"]["uid"]
        self._pods[uid] = pod
        self._starting.see_pod(pod, change.deleted)
        self._see_pod(pod, change.deleted)
        started = pod.get("status", {}).get("phase") in _STARTED
        if started and self._backend.leads(pod) and uid != self._leader and not self._is_older(pod):
            if self._leader:
                self._reader.restart()
            self._leader, self._read = uid, 0
            feed.follow_log(pod, self._backend.container)

    def _is_older(self, pod: Manifest) -> bool:
        leader = self._pods.get(self._leader)
        return leader is not None and pod["metadata"]["creationTimestamp"] < leader["metadata"]["creationTimestamp"]

    def _line(self, line: Line) -> None:
        if line.pod != self._leader:
            return
        self._read += 1
        self._reader.line(line.text)
        with writable(self._log.parent):
            mode = "w" if self._read == 1 else "a"
            with self._log.open(mode, encoding="utf-8") as file:
                file.write(f"{line.text}\n")

    def _end(self) -> int:
        """Read what was printed after we stopped listening, and say how it ended."""
        for pod in explain.pods_of(self._cluster, self._backend.selector(self._name)):
            self._pods[pod["metadata"]["uid"]] = pod
        leaders = [pod for pod in self._pods.values() if self._backend.leads(pod)]
        for pod in sorted(leaders, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))[-1:]:
            if pod["metadata"]["uid"] != self._leader:
                self._reader.restart()
                self._leader, self._read = pod["metadata"]["uid"], 0
            text = self._cluster.log(pod["metadata"]["name"], self._backend.container)
            for line in [line for line in text.split("\n") if line][self._read :]:
                self._line(Line(self._leader, line))
        return self._exit_code() if failed(self._item) else 0

    def _exit_code(self) -> int:
        for pod in self._pods.values():
            for container in pod.get("status", {}).get("containerStatuses", []):
                code = container.get("state", {}).get("terminated", {}).get("exitCode", 0)
                if code:
                    return int(code)
        return 1
