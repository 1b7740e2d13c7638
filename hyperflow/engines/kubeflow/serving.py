"""Put a model behind an InferenceService, and see that it is this very model that answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from http import HTTPStatus

import urllib3

from hyperflow.engines.kubeflow import explain
from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.discovery import kserve_of
from hyperflow.engines.kubeflow.jobs import condition
from hyperflow.engines.kubeflow.manifests import inference_service, service
from hyperflow.engines.kubeflow.manifests.common import RUN_LABEL, SPEC_ANNOTATION, Manifest
from hyperflow.engines.kubeflow.resources import DEPLOYMENT, POD, SERVICE, Resource
from hyperflow.engines.kubeflow.watch import Feed, Line
from hyperflow.errors import Cancelled, Conflict, JobFailed, JobTimeout
from hyperflow.progress import Progress, Report
from hyperflow.specs import Endpoint, ServeSpec, fingerprint

_SELECTOR = "serving.kserve.io/inferenceservice"
_BROKEN = ("BlockedByFailedLoad", "InvalidSpec")
_BACK_SECONDS = 600
_PROBE_SECONDS = 5.0


class Serving:
    """The services of a namespace.

    Args:
        cluster: Where they are.
        report: Told of every step forward.
        grace: Seconds that a model has to get over a failure to load; a first crash may pass.
    """

    def __init__(self, cluster: Cluster, report: Report, grace: float) -> None:
        self._cluster, self._report, self._grace = cluster, report, grace

    def serve(self, spec: ServeSpec) -> Endpoint:
        """Create the service or replace what it serves; on failure leave it as it was."""
        live = self._ours(spec.name)
        if live is not None and _is_this(live, spec):
            before, item, stale = None, live, ""
        else:
            before, item = live, self._apply(spec, live)
            stale = _stale_revision(live, item)
        try:
            return self._wait(item, spec.timeout, stale)
        except (JobFailed, Cancelled, KeyboardInterrupt):
            self._undo(item, before)
            raise

    def promote(self, name: str) -> Endpoint:
        """Give a canary all requests."""
        return self._change(self._existing(name), service.promoted) or self._endpoint(self._existing(name))

    def restore(self, name: str) -> Endpoint:
        """Serve what was served before."""
        endpoint = self._change(self._existing(name), service.restored)
        if endpoint is None:
            why = "none was served before this one"
            raise JobFailed(f"{name} cannot go back to an earlier model", why, "the new one is left, to be looked at")
        return endpoint

    def serving(self, name: str) -> Endpoint | None:
        """Return the service as it is, or None where there is none that has ever answered."""
        live = self._cluster.get(SERVICE, name)
        if live is None or not service.is_ours(live) or not live.get("status", {}).get("url"):
            return None
        return self._endpoint(live)

    def _apply(self, spec: ServeSpec, live: Manifest | None) -> Manifest:
        kserve = kserve_of(self._cluster, live)
        while True:
            try:
                if live is None:
                    return self._cluster.create(SERVICE, inference_service(spec, kserve))
                return self._cluster.replace(SERVICE, inference_service(spec, kserve, live))
            except ApiError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
            live = self._ours(spec.name)
            if live is not None and _is_this(live, spec):
                return live

    def _change(self, live: Manifest, change: Callable[[Manifest], Manifest | None]) -> Endpoint | None:
        while True:
            wanted = change(live)
            if wanted is None:
                return None
            try:
                return self._wait(self._cluster.replace(SERVICE, wanted), _BACK_SECONDS, _stale_revision(live, wanted))
            except ApiError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
            live = self._existing(live["metadata"]["name"])

    def _undo(self, item: Manifest, before: Manifest | None) -> None:
        """Put back what was there; a service that never answered is deleted, as nobody can be using it."""
        name = item["metadata"]["name"]
        live = self._cluster.get(SERVICE, name)
        if live is None:
            return
        back = service.restored(live)
        if back is not None:
            self._report(Progress("deploy", 0, 1, f"putting the previous model of {name} back"))
            self._cluster.replace(SERVICE, back)
        elif before is None and not live.get("status", {}).get("url"):
            self._cluster.delete(SERVICE, name, live["metadata"]["uid"])

    def _ours(self, name: str) -> Manifest | None:
        live = self._cluster.get(SERVICE, name)
        if live is not None and not service.is_ours(live):
            why = "Hyperflow did not make it, and so does not change it"
            raise Conflict(f"InferenceService {name} is in the way", why, "choose another model_name, or delete it")
        return live

    def _existing(self, name: str) -> Manifest:
        live = self._ours(name)
        if live is None:
            raise JobFailed(
                f"there is no service {name!r}", f"namespace {self._cluster.namespace} has none", "deploy it"
            )
        return live

    def _wait(self, item: Manifest, timeout: int, stale: str) -> Endpoint:
        """Wait for KServe's word on this generation, for the rollout behind it, and for the model's own answer."""
        deadline = time.monotonic() + timeout
        name = item["metadata"]["name"]
        rollout = Rollout(item, stale)
        with Feed(self._cluster) as feed:
            feed.watch(SERVICE, fieldSelector=f"metadata.name={name}")
            feed.watch(POD, labelSelector=f"{_SELECTOR}={name}")
            if not rollout.knative:
                feed.watch(DEPLOYMENT, labelSelector=f"{_SELECTOR}={name}")
            said, broken_since = "", 0.0
            while not self._settled(rollout):
                broken_since = (broken_since or time.monotonic()) if rollout.broken else 0.0
                limit = min(deadline, broken_since + self._grace) if broken_since else deadline
                change = feed.next(limit - time.monotonic())
                if change is None:
                    raise self._failure(rollout, timeout, timed_out=limit == deadline)
                if isinstance(change, Line):
                    continue
                if change.resource is SERVICE and change.deleted:
                    raise JobFailed(f"InferenceService {name} was deleted while it came up", "", "deploy it again")
                rollout.see(change.resource, change.object, change.deleted)
                if rollout.text not in ("", said):
                    said = rollout.text
                    self._report(Progress("deploy", 0, 1, f"waiting for {said}"))
        endpoint = self._endpoint(rollout.item)
        self._await_answer(endpoint, deadline, timeout)
        self._report(Progress("deploy", 1, 1, f"{name} answers at {endpoint.url}"))
        return endpoint

    def _settled(self, rollout: Rollout) -> bool:
        """Tell whether all is done; Deployments are read once more, as their watch may lag behind the service's."""
        if rollout.done and not rollout.knative:
            selector = f"{_SELECTOR}={rollout.item['metadata']['name']}"
            for item in self._cluster.list(DEPLOYMENT, labelSelector=selector)["items"]:
                rollout.see(DEPLOYMENT, item)
        return rollout.done

    def _await_answer(self, endpoint: Endpoint, deadline: float, timeout: int) -> None:
        """Ask for the model until it answers: routes follow a rollout with a delay that no condition shows."""
        url = f"{endpoint.url}/v1/models/{endpoint.name}"
        pool, pause, problem = urllib3.PoolManager(retries=False, timeout=_PROBE_SECONDS), 0.1, ""
        while True:
            try:
                answer = pool.request("GET", url, redirect=False)
                if answer.status == HTTPStatus.OK:
                    return
                problem = f"{answer.status} {answer.data[:200].decode(errors='replace')}"
                refused = answer.status in (301, 302, 303, 307, 401, 403)
            except urllib3.exceptions.HTTPError as error:
                problem, refused = str(error), False
            if refused:
                remedy = "let steps call the predictor: manifests/ has the AuthorizationPolicy for a mesh"
                raise JobFailed(f"{url} turns this step away, although the service is ready", problem, remedy)
            if time.monotonic() + pause > deadline:
                remedy = "see whether this step can reach the predictor (NetworkPolicy, mesh)"
                raise JobTimeout(f"{url} did not answer within {timeout} s", problem, remedy)
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)

    def _endpoint(self, live: Manifest) -> Endpoint:
        status, metadata = live.get("status", {}), live["metadata"]
        inside = "KUBERNETES_SERVICE_HOST" in os.environ
        url = (status.get("address") or {}).get("url") if inside else ""
        model = service.served(live)
        if model is None:
            raise Conflict(f"InferenceService {metadata['name']} does not say what it serves", "", "deploy it again")
        predictor = status.get("components", {}).get("predictor", {})
        return Endpoint(
            name=metadata["name"],
            url=str(url or status.get("url", "")).rstrip("/"),
            model=model,
            previous=service.previous(live),
            revision=predictor.get("latestReadyRevision") or f"generation-{metadata.get('generation', 1)}",
            location=f"InferenceService {self._cluster.namespace}/{metadata['name']}",
        )

    def _failure(self, rollout: Rollout, timeout: int, timed_out: bool) -> JobFailed:
        name = rollout.item["metadata"]["name"]
        pods = explain.pods_of(self._cluster, f"{_SELECTOR}={name}")
        pods.sort(key=lambda pod: not rollout.is_new(pod))
        broken = [pod for pod in pods if explain.pod_states([pod])]
        lines = [*rollout.problems(), *explain.not_ready(rollout.item), *explain.pod_states(pods)]
        lines += explain.events(self._cluster, [name, *(pod["metadata"]["name"] for pod in broken)])
        lines += explain.log_tail(self._cluster, broken)
        why = "\n".join(lines)
        if timed_out:
            what = f"{name} was not ready after {timeout} s: waited for {rollout.text}"
            return JobTimeout(what, why, explain.hint(why, "raise deploy_timeout"))
        otherwise = "see whether the model's folder holds a whole SavedModel and the runtime is installed"
        return JobFailed(f"the model cannot be served as {name}", why, explain.hint(why, otherwise))


class Rollout:
    """How far KServe is with one generation of a service.

    Args:
        item: The service, as it was written.
        stale: Knative's last revision from before, where this generation needs another; KServe may have taken the
            generation up before Knative has made its revision.
    """

    def __init__(self, item: Manifest, stale: str) -> None:
        self.item, self._stale = item, stale
        self._generation = item["metadata"].get("generation", 1)
        self._deployments: dict[str, Manifest] = {}
        self._pods: dict[str, Manifest] = {}

    def see(self, resource: Resource, item: Manifest, deleted: bool = False) -> None:
        """Take a change in."""
        if resource is SERVICE:
            self.item = item
            return
        seen = self._pods if resource is POD else self._deployments
        if deleted:
            seen.pop(item["metadata"]["name"], None)
        else:
            seen[item["metadata"]["name"]] = item

    def is_new(self, pod: Manifest) -> bool:
        """Tell whether a pod was made to serve this model: KServe gives pods the annotations of their service."""
        metadata, wanted = pod["metadata"], self.item["metadata"].get("annotations", {})
        model = metadata.get("annotations", {}).get(service.MODEL_ANNOTATION)
        return model == wanted.get(service.MODEL_ANNOTATION) and "deletionTimestamp" not in metadata

    @property
    def knative(self) -> bool:
        """Whether Knative has the pods, so that revisions tell how far they are, and no Deployment does."""
        mode = self.item["metadata"].get("annotations", {}).get(service.MODE_ANNOTATION)
        return mode in ("Knative", "Serverless")

    @property
    def done(self) -> bool:
        """Whether this generation, and nothing older, is what answers."""
        return not self.broken and not self.text

    @property
    def broken(self) -> bool:
        """Whether KServe or a pod says that this generation cannot work; a first crash may pass.

        In Standard mode KServe reports a model as loaded while pods of the one before are ready, so only the new
        pods tell.
        """
        return self._blocked or any(self.is_new(pod) and explain.is_stuck(pod) for pod in self._pods.values())

    @property
    def text(self) -> str:
        """What is still being waited for, or nothing."""
        if not self._observed:
            return f"KServe to take up generation {self._generation}"
        if self.knative and self._revisions[0] in ("", self._stale):
            return f"a revision after {self._stale}" if self._stale else "the first revision"
        if self.knative and self._revisions[0] != self._revisions[1]:
            return f"revision {self._revisions[0]}"
        if self.knative and self._lagging_traffic:
            return f"all requests to go to {self._revisions[1]}"
        late = [name for name, item in self._deployments.items() if not _rolled_out(item)]
        if late:
            return f"Deployment {late[0]}"
        if condition(self.item, "Ready") is None:
            waits = [line.split(":")[0] for line in explain.not_ready(self.item)]
            return waits[0] if waits else "Ready"
        if not (self.knative or self._deployments):
            return "its Deployment"
        canaries = {canary["name"]: canary["ready"] for canary in self.item["status"].get("canaryStatuses", [])}
        for canary in self.item["spec"].get("canary", []):
            if not canaries.get(canary["predictor"]["name"]):
                return f"canary {canary['predictor']['name']}"
        return "" if self.item["status"].get("url") else "a URL"

    def problems(self) -> list[str]:
        """Word what KServe says about the model."""
        failure = self._model_status.get("lastFailureInfo") or {}
        lines = [f"model status {self._model_status['transitionStatus']}"] if self._blocked else []
        if failure:
            code = f" (exit code {failure['exitCode']})" if failure.get("exitCode") else ""
            lines.append(f"{failure.get('reason', '')}{code}: {failure.get('message', '')}")
        return lines

    @property
    def _blocked(self) -> bool:
        return self._observed and self._model_status.get("transitionStatus") in _BROKEN

    @property
    def _observed(self) -> bool:
        return bool(self.item.get("status", {}).get("observedGeneration", 0) >= self._generation)

    @property
    def _model_status(self) -> Manifest:
        return dict(self.item.get("status", {}).get("modelStatus") or {})

    @property
    def _lagging_traffic(self) -> bool:
        """Whether requests still go to an older revision although there is no canary."""
        predictor = self.item.get("status", {}).get("components", {}).get("predictor", {})
        rolled_out = predictor.get("latestRolledoutRevision", "")
        has_canary = "canaryTrafficPercent" in self.item["spec"]["predictor"]
        return not has_canary and rolled_out not in ("", self._revisions[1])

    @property
    def _revisions(self) -> tuple[str, str]:
        predictor = self.item.get("status", {}).get("components", {}).get("predictor", {})
        created = predictor.get("latestCreatedRevision", "")
        return created, predictor.get("latestReadyRevision", "")


def _is_this(live: Manifest, spec: ServeSpec) -> bool:
    """Tell whether an earlier attempt of this very step has applied this spec already."""
    metadata = live["metadata"]
    run = metadata.get("labels", {}).get(RUN_LABEL)
    return (run, metadata.get("annotations", {}).get(SPEC_ANNOTATION)) == (spec.run_id, fingerprint(spec))


def _stale_revision(before: Manifest | None, item: Manifest) -> str:
    """Name the revision that cannot be the new model's; a change of traffic alone makes no new one."""
    if before is None or before["spec"]["predictor"]["model"] == item["spec"]["predictor"]["model"]:
        return ""
    predictor = before.get("status", {}).get("components", {}).get("predictor", {})
    return str(predictor.get("latestCreatedRevision", ""))


def _rolled_out(deployment: Manifest) -> bool:
    """Tell whether all replicas are new and up, and no old one is left to answer."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("availableReplicas", 0) >= wanted
        and status.get("replicas", 0) == status.get("updatedReplicas", 0)
    )
