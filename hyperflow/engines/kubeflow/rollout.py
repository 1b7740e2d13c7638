"""How far KServe is with one change of a service, judged from the service, its Deployments and its pods."""

from __future__ import annotations

from hyperflow.engines.kubeflow import explain
from hyperflow.engines.kubeflow.jobs import condition
from hyperflow.engines.kubeflow.manifests import service
from hyperflow.engines.kubeflow.manifests.common import Manifest
from hyperflow.engines.kubeflow.manifests.kserve import MODE_ANNOTATION
from hyperflow.engines.kubeflow.resources import POD, SERVICE, Resource

_BROKEN = ("BlockedByFailedLoad", "InvalidSpec")


class Rollout:
    """How far KServe is with one change of a service.

    Args:
        item: The service, as it was written.
    """

    def __init__(self, item: Manifest) -> None:
        self.item = item
        self._stale = item["metadata"].get("annotations", {}).get(service.REPLACES_ANNOTATION, "")
        self._said_before = self._model_status
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
        mode = self.item["metadata"].get("annotations", {}).get(MODE_ANNOTATION)
        return mode in ("Knative", "Serverless")

    @property
    def done(self) -> bool:
        """Whether this change, and nothing older, is what answers."""
        return not self.broken and not self.text

    @property
    def has_replaced(self) -> bool:
        """Whether nothing older is left, be its own pods up at this moment or not."""
        if self.knative:
            created, ready = self._revisions
            return created not in ("", self._stale) and created == ready
        deployments = self._deployments.values()
        return all(self._is_current(item) and _without_old_pods(item) for item in deployments)

    @property
    def broken(self) -> bool:
        """Whether KServe or a pod says that this change cannot work; a first crash may pass.

        In Standard mode KServe reports a model as loaded while pods of the one before are ready, so only the new
        pods tell.
        """
        return self._blocked or any(self.is_new(pod) and explain.is_stuck(pod) for pod in self._pods.values())

    @property
    def text(self) -> str:
        """What is still being waited for, or nothing."""
        waits = self._of_revisions if self.knative else self._of_deployments
        if waits:
            return waits
        if condition(self.item, "Ready") is None:
            lines = [line.split(":")[0] for line in explain.not_ready(self.item)]
            return lines[0] if lines else "Ready"
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
    def _of_revisions(self) -> str:
        """What Knative has still to do."""
        created, ready = self._revisions
        if created in ("", self._stale):
            return f"a revision after {self._stale}" if self._stale else "the first revision"
        if created != ready:
            return f"revision {created}"
        if self._lagging_traffic:
            return f"all requests to go to {ready}"
        wants_tag = service.TAGS_ANNOTATION in self.item["metadata"].get("annotations", {}) and self._has_canary
        return "the canary's address" if wants_tag and service.latest_tag(self.item) is None else ""

    @property
    def _of_deployments(self) -> str:
        """What KServe has still to do itself; its observedGeneration is that of a Deployment, and tells nothing."""
        if not self._deployments:
            return "its Deployment"
        late = [name for name, item in self._deployments.items() if not self._is_current(item)]
        if late:
            return f"KServe to take this change up in Deployment {late[0]}"
        late = [name for name, item in self._deployments.items() if not _rolled_out(item)]
        return f"Deployment {late[0]}" if late else ""

    def _is_current(self, deployment: Manifest) -> bool:
        """Tell whether a Deployment is made from the service as it is now."""
        template = deployment["spec"].get("template", {}).get("metadata", {})
        made_of = template.get("annotations", {}).get(service.CHANGE_ANNOTATION)
        return bool(made_of == self.item["metadata"].get("annotations", {}).get(service.CHANGE_ANNOTATION))

    @property
    def _blocked(self) -> bool:
        """Whether KServe says that the model cannot be served, and says it of this change."""
        if self.knative:
            is_told = self._revisions[0] not in ("", self._stale)
        else:
            is_told = all(self._is_current(item) for item in self._deployments.values())
        is_new = is_told or self._model_status != self._said_before
        return is_new and self._model_status.get("transitionStatus") in _BROKEN

    @property
    def _model_status(self) -> Manifest:
        return dict(self.item.get("status", {}).get("modelStatus") or {})

    @property
    def _lagging_traffic(self) -> bool:
        """Whether requests still go to an older revision although there is no canary."""
        predictor = self.item.get("status", {}).get("components", {}).get("predictor", {})
        rolled_out = predictor.get("latestRolledoutRevision", "")
        return not self._has_canary and rolled_out not in ("", self._revisions[1])

    @property
    def _has_canary(self) -> bool:
        return service.has_share(self.item)

    @property
    def _revisions(self) -> tuple[str, str]:
        predictor = self.item.get("status", {}).get("components", {}).get("predictor", {})
        created = predictor.get("latestCreatedRevision", "")
        return created, predictor.get("latestReadyRevision", "")


def _without_old_pods(deployment: Manifest) -> bool:
    """Tell whether a Deployment's pods are all new ones; an old one goes only when a new one has been up."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    is_seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
    return bool(is_seen and status.get("replicas", 0) == status.get("updatedReplicas", 0) >= wanted)


def _rolled_out(deployment: Manifest) -> bool:
    """Tell whether all replicas are new and up, and no old one is left to answer."""
    available = deployment.get("status", {}).get("availableReplicas", 0)
    return _without_old_pods(deployment) and bool(available >= deployment["spec"].get("replicas", 1))
