"""Run a compiled pipeline on this machine."""

from hyperflow.runner.asked import Request, pipeline_of
from hyperflow.runner.live import Live, watched
from hyperflow.runner.output import Listener
from hyperflow.runner.run import new_run_id, run
from hyperflow.runner.values import declared, read_values, whole

__all__ = [
    "Listener", "Live", "Request", "declared", "new_run_id", "pipeline_of", "read_values", "run", "watched",
    "whole",
]  # fmt: skip
