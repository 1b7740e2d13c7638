"""Specs as Kubernetes objects: pure functions, so that what a run would create can be printed and reviewed."""

from hyperflow.engines.kubeflow.manifests.approval import approval
from hyperflow.engines.kubeflow.manifests.common import Manifest, in_pod
from hyperflow.engines.kubeflow.manifests.experiment import experiment
from hyperflow.engines.kubeflow.manifests.kserve import KServe
from hyperflow.engines.kubeflow.manifests.predictor import storage_uri
from hyperflow.engines.kubeflow.manifests.service import inference_service
from hyperflow.engines.kubeflow.manifests.tfjob import tfjob

__all__ = ["KServe", "Manifest", "approval", "experiment", "in_pod", "inference_service", "storage_uri", "tfjob"]
