"""The engine that tunes with Katib, trains with a TFJob and serves with KServe."""

from hyperflow.engines.kubeflow.engine import KubeflowEngine, create
from hyperflow.engines.kubeflow.manifests import KServe
from hyperflow.engines.kubeflow.preflight import Check

__all__ = ["Check", "KServe", "KubeflowEngine", "create"]
