"""What each pipeline step does; the components are thin signatures over these modules."""

from hyperflow.steps.context import (
    RUN_ID,
    Step,
    check,
    load_data,
    read_evaluation,
    step,
    train,
    tune,
    write_page,
)

__all__ = ["RUN_ID", "Step", "check", "load_data", "read_evaluation", "step", "train", "tune", "write_page"]
