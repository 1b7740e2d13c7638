"""Hyperflow: tune, train and serve a model with one pipeline, on Kubeflow or on this machine."""

__version__ = "0.1.0"
