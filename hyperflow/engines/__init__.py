"""Choose an engine by name, and import it only then."""

from __future__ import annotations

import importlib
import os

from hyperflow import pod, progress
from hyperflow.engines.base import Engine
from hyperflow.errors import InvalidParameter, one_of

__all__ = ["ENGINES", "Engine", "engine_name", "get_engine"]

ENGINES = {"local": "hyperflow.engines.local", "kubeflow": "hyperflow.engines.kubeflow"}
"""Name of each engine and the module whose `create` makes it."""


def engine_name() -> str:
    """Name the engine for this process: HYPERFLOW_ENGINE, else Kubeflow inside a pod, else this machine.

    Raises:
        InvalidParameter: HYPERFLOW_ENGINE names no engine.
    """
    name = os.environ.get("HYPERFLOW_ENGINE") or ("kubeflow" if pod.is_inside() else "local")
    if name not in ENGINES:
        raise InvalidParameter("HYPERFLOW_ENGINE", name, one_of(ENGINES))
    return name


def get_engine(tell: progress.Tell = progress.to_stdout) -> Engine:
    """Make the engine for this process."""
    module = importlib.import_module(ENGINES[engine_name()])
    engine: Engine = module.create(tell)
    return engine
