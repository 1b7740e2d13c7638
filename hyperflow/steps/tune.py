"""Search for hyper-parameters."""

from __future__ import annotations

from hyperflow import report, translation
from hyperflow.engines import get_engine
from hyperflow.parameters import Parameters
from hyperflow.specs import TuneResult
from hyperflow.steps.context import Step, say_reaped
from hyperflow.volume import records


def run(current: Step, parameters: Parameters, data_path: str, page: str) -> TuneResult:
    """Search, and write the trials' page."""
    spec = translation.tune_spec(parameters, current.run_id, data_path)
    engine = get_engine()
    say_reaped(engine.reap())
    result = engine.tune(spec)
    record = records.Tune(
        metric=spec.objective.metric, direction=spec.objective.direction, best=result.best, trials=result.trials,
        location=result.location,
    )  # fmt: skip
    current.keep(record)
    report.write(page, "Tuning", [report.trials(record)])
    return result
