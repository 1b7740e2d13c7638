"""The engine for one machine: processes in the place of pods, Optuna in Katib's, the same promises."""

from hyperflow.engines.local.engine import LocalEngine, create
from hyperflow.engines.local.processes import OURS, SAFE_PATH, guarded
from hyperflow.engines.local.services import KEEP

__all__ = ["KEEP", "OURS", "SAFE_PATH", "LocalEngine", "create", "guarded"]
