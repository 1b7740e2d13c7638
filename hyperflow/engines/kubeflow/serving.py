"""Put a model behind an InferenceService, and see that it is this very model that answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from hyperflow import client, pod
from hyperflow.engines.kubeflow import answer, explain, starting
from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.discovery import kserve_of
from hyperflow.engines.kubeflow.manifests import inference_service, service
from hyperflow.engines.kubeflow.manifests.common import RUN_LABEL, SPEC_ANNOTATION, Manifest
from hyperflow.engines.kubeflow.resources import DEPLOYMENT, POD, SERVICE
from hyperflow.engines.kubeflow.rollout import Rollout
from hyperflow.engines.kubeflow.starting import ACT_SECONDS
from hyperflow.engines.kubeflow.watch import Feed, Line
from hyperflow.errors import Cancelled, Conflict, JobFailed, JobTimeout
from hyperflow.progress import Progress, Tell
from hyperflow.specs import Endpoint, ServeSpec, fingerprint

_SELECTOR = "serving.kserve.io/inferenceservice"
_BACK_SECONDS = 600

Change = Callable[[Manifest], Manifest | None]


class Serving:
    """The services of a namespace.

    Args:
        cluster: Where they are.
        tell: Told of every step forward.
        grace: Seconds that a model has to get over a failure to load; a first crash may pass.
        act_seconds: Seconds that KServe has to act on a new service.
    """

    def __init__(self, cluster: Cluster, tell: Tell, grace: float, act_seconds: float = ACT_SECONDS) -> None:
        self._cluster, self._tell, self._grace, self._act_seconds = cluster, tell, grace, act_seconds

    def serve(self, spec: ServeSpec) -> Endpoint:
        """Create the service or replace what it serves; on failure leave it as it was."""
        live = self._ours(spec.name)
        item = live if live is not None and _is_this(live, spec) else self._apply(spec, live)
        try:
            endpoint = self._wait(item, spec.timeout)
            self._share(spec)
            return endpoint
        except JobFailed as failure:
            raise self._taken_back(spec, failure) from failure
        except (Cancelled, KeyboardInterrupt):
            self._take_back(spec)
            raise

    def promote(self, name: str) -> Endpoint:
        """Give a canary all requests."""
        return self._change(name, service.promoted) or self._endpoint(self._existing(name))

    def restore(self, name: str) -> Endpoint:
        """Serve what was served before; mark a service that served nothing before."""
        endpoint = self._change(name, service.restored)
        if endpoint is None:
            self._update(self._existing(name), lambda item: service.marked(item, "it failed its test"))
            raise JobFailed(
                f"{name} cannot go back to an earlier model", "none was served before this one",
                f"look at the service, which is left and marked as failed: kubectl describe inferenceservice {name}",
            )  # fmt: skip
        return self._change(name, service.promoted) or endpoint

    def deployed(self, name: str) -> Endpoint | None:
        """Return the model last served and not taken back, and where it is asked now."""
        live = self._cluster.get(SERVICE, name)
        if live is None or not service.is_ours(live) or service.is_marked(live):
            return None
        return self._endpoint(live) if live.get("status", {}).get("url") else None

    def serving(self, name: str) -> Endpoint | None:
        """Return what the service's users meet, or None where there is nothing that has ever done well."""
        live = self._cluster.get(SERVICE, name)
        if live is None or not service.is_ours(live):
            return None
        model, _ = service.stable(live, self._has_come_up(live))
        return replace(self._endpoint(live, service.public_url), model=model) if model else None

    def _apply(self, spec: ServeSpec, live: Manifest | None) -> Manifest:
        kserve = kserve_of(self._cluster, live)
        while live is None:
            try:
                return self._cluster.create(SERVICE, inference_service(spec, kserve))
            except ApiError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
            live = self._ours(spec.name)

        def replaced(item: Manifest) -> Manifest | None:
            return None if _is_this(item, spec) else inference_service(spec, kserve, item, self._has_come_up(item))

        return self._update(live, replaced) or self._existing(spec.name)

    def _share(self, spec: ServeSpec) -> None:
        """Give a canary that is ready its share, where KServe's mode wants that to be a change of its own."""

        def shared(item: Manifest) -> Manifest | None:
            return service.shared(item, spec.canary_percent) if _is_this(item, spec) else None

        self._update(self._existing(spec.name), shared)

    def _change(self, name: str, change: Change) -> Endpoint | None:
        live = self._existing(name)
        changed = self._update(live, change)
        return self._wait(changed, _BACK_SECONDS) if changed else None

    def _update(self, live: Manifest, change: Change) -> Manifest | None:
        """Replace a service by what `change` makes of it, again where another was quicker; None changes nothing."""
        while True:
            wanted = change(live)
            if wanted is None:
                return None
            try:
                return self._cluster.replace(SERVICE, wanted)
            except ApiError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
            live = self._existing(live["metadata"]["name"])

    def _taken_back(self, spec: ServeSpec, failure: JobFailed) -> JobFailed:
        """Put back what was there; word what failed and what is served now."""
        now = self._take_back(spec, failure.what)
        return type(failure)(f"{failure.what}; {now}" if now else failure.what, failure.why, failure.remedy)

    def _take_back(self, spec: ServeSpec, failed: str = "") -> str:
        """Serve the previous model again; a service without one is left, marked, or deleted where nothing failed."""
        name = spec.name
        live = self._cluster.get(SERVICE, name)
        if live is None or not _is_this(live, spec):  # another run's change is not ours to undo
            return ""
        back = self._update(live, lambda item: service.restored(item) if _is_this(item, spec) else None)
        if back is not None:
            model = service.served(back)
            self._tell(Progress("deploy", 0, 1, f"putting the previous model of {name} back"))
            lag = self._hand_back(back) if failed and service.has_share(back) else ""
            return f"the previous model ({model.path}) stays{lag}" if model else ""
        if not failed and not live.get("status", {}).get("url"):
            self._cluster.delete(SERVICE, name, live["metadata"]["uid"])
            return ""
        reason = failed or "its deployment was cancelled"
        self._update(live, lambda item: service.marked(item, reason) if _is_this(item, spec) else None)
        return f"no other is served as {name}, which is left to be looked at, marked as failed"

    def _hand_back(self, back: Manifest) -> str:
        """Give the restored revision all requests once it is ready; say where it is not, and users have the old one."""
        try:
            self._wait(back, _BACK_SECONDS)
            self._change(back["metadata"]["name"], service.promoted)
        except JobFailed as failure:
            return f" in its old revision, for its new one does not come up: {failure.what}"
        return ""

    def _has_come_up(self, live: Manifest) -> bool:
        """Tell whether what a service describes has ever answered, however the step that wrote it ended."""
        rollout = Rollout(live)
        self._look(rollout)
        return rollout.has_replaced

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

    def _wait(self, item: Manifest, timeout: int) -> Endpoint:
        """Wait for KServe to take this change up, for the rollout behind it, and for the model's own answer."""
        deadline = time.monotonic() + timeout
        name = item["metadata"]["name"]
        rollout = Rollout(item)
        with Feed(self._cluster) as feed:
            feed.watch(SERVICE, fieldSelector=f"metadata.name={name}")
            feed.watch(POD, labelSelector=f"{_SELECTOR}={name}")
            if not rollout.knative:
                feed.watch(DEPLOYMENT, labelSelector=f"{_SELECTOR}={name}")
            self._follow(rollout, feed, deadline, timeout)
        endpoint = self._endpoint(rollout.item)
        answer.wait(f"{endpoint.url}/v1/models/{endpoint.name}", deadline, timeout)
        self._tell(Progress("deploy", 1, 1, f"{name} answers at {endpoint.url}"))
        return endpoint

    def _follow(self, rollout: Rollout, feed: Feed, deadline: float, timeout: int) -> None:
        said, broken_since, begun = "", 0.0, time.monotonic()
        while not self._settled(rollout):
            broken_since = (broken_since or time.monotonic()) if rollout.broken else 0.0
            limit = min(deadline, broken_since + self._grace) if broken_since else deadline
            if not starting.has_begun(rollout.item):
                limit = min(limit, begun + self._act_seconds)
            change = feed.next(limit - time.monotonic())
            if change is None:
                if limit == begun + self._act_seconds:
                    raise starting.untouched(SERVICE, rollout.item, self._act_seconds)
                raise self._failure(rollout, timeout, timed_out=limit == deadline)
            if isinstance(change, Line):
                continue
            if change.resource is SERVICE and change.deleted:
                name = rollout.item["metadata"]["name"]
                raise JobFailed(f"InferenceService {name} was deleted while it came up", "", "deploy it again")
            rollout.see(change.resource, change.object, change.deleted)
            if rollout.text not in ("", said):
                said = rollout.text
                self._tell(Progress("deploy", 0, 1, f"waiting for {said}"))

    def _settled(self, rollout: Rollout) -> bool:
        """Tell whether all is done; Deployments are read once more, as their watch may lag behind the service's."""
        if rollout.done:
            self._look(rollout)
        return rollout.done

    def _look(self, rollout: Rollout) -> None:
        if not rollout.knative:
            selector = f"{_SELECTOR}={rollout.item['metadata']['name']}"
            for item in self._cluster.list(DEPLOYMENT, labelSelector=selector)["items"]:
                rollout.see(DEPLOYMENT, item)

    def _endpoint(self, live: Manifest, url: Callable[[Manifest, bool], str] = service.url) -> Endpoint:
        status, metadata = live.get("status", {}), live["metadata"]
        model = service.served(live)
        if model is None:
            raise Conflict(f"InferenceService {metadata['name']} does not say what it serves", "", "deploy it again")
        predictor = status.get("components", {}).get("predictor", {})
        return Endpoint(
            name=metadata["name"],
            url=url(live, _is_inside()),
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


def _is_inside() -> bool:
    """Tell whether requests go straight to a service's address inside the cluster."""
    return pod.is_inside() and not os.environ.get(client.INGRESS)


def _is_this(live: Manifest, spec: ServeSpec) -> bool:
    """Tell whether an earlier attempt of this very step has applied this spec already."""
    metadata = live["metadata"]
    run = metadata.get("labels", {}).get(RUN_LABEL)
    return (run, metadata.get("annotations", {}).get(SPEC_ANNOTATION)) == (spec.run_id, fingerprint(spec))
