"""The whole way: load data, tune, train, decide, deploy, predict."""

from kfp import dsl

from components.check import check
from components.load_data import load_data
from components.tune import tune
from pipelines import settings
from pipelines.delivery import deliver
from pipelines.wiring import Given, pipeline, step


@pipeline("train-and-serve")
def train_and_serve(given: Given) -> None:
    """Find good hyper-parameters, train with them, serve the model and test it where it is served."""
    given["run_id"] = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    checked = settings.apply(step(check, given), given, timeout=settings.QUARTER_HOUR)
    loaded = step(load_data, given).after(checked)
    settings.loading(settings.apply(loaded, given, timeout=settings.HOUR))
    given |= {"data_path": loaded.outputs["data_path"], "data_digest": loaded.outputs["digest"]}
    tuned = settings.apply(step(tune, given), given)
    deliver({**given, "best_parameters": tuned.outputs["best_parameters"], "tuned": True})
