"""The engine that tunes with Katib, trains with a TFJob and serves with KServe."""

from hyperflow.engines.kubeflow.engine import KubeflowEngine, create

__all__ = ["KubeflowEngine", "create"]
