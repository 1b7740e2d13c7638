"""When a trial is stopped early."""

from __future__ import annotations

import optuna

from hyperflow.specs import TuneSpec


def pruner(spec: TuneSpec) -> optuna.pruners.BasePruner:
    """Make Optuna's counterpart of Katib's median stopping, or of none.

    Katib compares with the mean of the trials' means up to `start_step`, Optuna with the median at the same step.
    """
    if spec.early_stopping is None:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(
        n_startup_trials=spec.early_stopping.min_trials_required, n_warmup_steps=spec.early_stopping.start_step
    )
