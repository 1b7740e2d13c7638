"""What each pipeline step does: a module for each component, of the same name, whose `run` is the step's body."""

from hyperflow.steps.context import RUN_ID, Step, begin

__all__ = ["RUN_ID", "Step", "begin"]
