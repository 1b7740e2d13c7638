"""The recurring way: look whether anything is new, train with the known best values, promote only what is better."""

from kfp import dsl

from components.check import check
from components.load_data import load_data
from components.plan import plan
from components.tune import tune
from pipelines import settings
from pipelines.delivery import deliver
from pipelines.wiring import Given, pipeline, step


@pipeline("retrain", recurring=True)
def retrain(given: Given) -> None:
    """Train on new data with the values known best, and serve the model only if it is better than the one serving."""
    given["run_id"] = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    checked = settings.apply(step(check, given), given, timeout=settings.QUARTER_HOUR)
    loaded = step(load_data, given).after(checked)
    settings.loading(settings.apply(loaded, given, timeout=settings.HOUR))
    given |= {"data_path": loaded.outputs["data_path"], "data_digest": loaded.outputs["digest"]}
    planned = settings.asking(settings.apply(step(plan, given), given, timeout=settings.HOUR))
    with dsl.If(planned.outputs["Output"] == "train", name="known-values"):
        deliver({**given, "best_parameters": planned.outputs["known_parameters"], "tuned": False})
    with dsl.If(planned.outputs["Output"] == "tune", name="new-values"):
        tuned = settings.apply(step(tune, given), given)
        deliver({**given, "best_parameters": tuned.outputs["best_parameters"], "tuned": True})
