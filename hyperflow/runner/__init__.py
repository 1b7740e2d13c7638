"""Run a compiled pipeline on this machine."""

from hyperflow.runner.output import Listener
from hyperflow.runner.run import Request, new_run_id, run
from hyperflow.runner.values import declared, read_values, whole

__all__ = ["Listener", "Request", "declared", "new_run_id", "read_values", "run", "whole"]
