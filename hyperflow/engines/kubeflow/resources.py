"""The kinds of Kubernetes objects that the engine deals with, and where their API is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resource:
    """One kind of object.

    Args:
        kind: The kind as manifests name it.
        plural: The kind as URLs name it.
        group: API group; empty for the core.
        version: API version.
        namespaced: Whether its objects live in namespaces.
    """

    kind: str
    plural: str
    group: str
    version: str
    namespaced: bool = True

    @property
    def api(self) -> str:
        """URL path of the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Return the URL path of the kind in a namespace, of one object or of a part of it."""
        scope = f"namespaces/{namespace}" if self.namespaced else ""
        return "/".join(part for part in (self.api, scope, self.plural, name, subresource) if part)


EXPERIMENT = Resource("Experiment", "experiments", "kubeflow.org", "v1beta1")
SUGGESTION = Resource("Suggestion", "suggestions", "kubeflow.org", "v1beta1")
TRIAL = Resource("Trial", "trials", "kubeflow.org", "v1beta1")
TFJOB = Resource("TFJob", "tfjobs", "kubeflow.org", "v1")
JOB = Resource("Job", "jobs", "batch", "v1")
TRAINJOB = Resource("TrainJob", "trainjobs", "trainer.kubeflow.org", "v1alpha1")
TRAINING_RUNTIME = Resource("TrainingRuntime", "trainingruntimes", "trainer.kubeflow.org", "v1alpha1")
NETWORK = Resource("Service", "services", "", "v1")
"""Kubernetes' own Service; SERVICE is KServe's."""
SERVICE = Resource("InferenceService", "inferenceservices", "serving.kserve.io", "v1beta1")
SERVING_RUNTIME = Resource("ServingRuntime", "servingruntimes", "serving.kserve.io", "v1alpha1")
CLUSTER_RUNTIME = Resource(
    "ClusterServingRuntime", "clusterservingruntimes", "serving.kserve.io", "v1alpha1", namespaced=False
)
DEPLOYMENT = Resource("Deployment", "deployments", "apps", "v1")
WORKFLOW = Resource("Workflow", "workflows", "argoproj.io", "v1alpha1")
POD = Resource("Pod", "pods", "", "v1")
EVENT = Resource("Event", "events", "", "v1")
CLAIM = Resource("PersistentVolumeClaim", "persistentvolumeclaims", "", "v1")
CONFIG_MAP = Resource("ConfigMap", "configmaps", "", "v1")
QUOTA = Resource("ResourceQuota", "resourcequotas", "", "v1")
NAMESPACE = Resource("Namespace", "namespaces", "", "v1", namespaced=False)
STORAGE_CLASS = Resource("StorageClass", "storageclasses", "storage.k8s.io", "v1", namespaced=False)
ACCESS_REVIEW = Resource(
    "SelfSubjectAccessReview", "selfsubjectaccessreviews", "authorization.k8s.io", "v1", namespaced=False
)
AUTHORIZATION_POLICY = Resource("AuthorizationPolicy", "authorizationpolicies", "security.istio.io", "v1")
SELF_REVIEW = Resource("SelfSubjectReview", "selfsubjectreviews", "authentication.k8s.io", "v1", namespaced=False)
