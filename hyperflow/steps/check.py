"""Refuse, before anything is made, what could not be carried through."""

from __future__ import annotations

import time

from hyperflow import translation
from hyperflow.engines import get_engine
from hyperflow.parameters import Parameters
from hyperflow.specs import ModelRef
from hyperflow.steps.context import Step
from hyperflow.volume import records
from hyperflow.volume.records import Asked

_MAY_TRAIN_ANEW = (
    "hyperband gives the best trials more epochs, and the trainer does not say whether it goes on from a checkpoint: "
    "where it does not, such a trial trains anew"
)


def run(current: Step, parameters: Parameters) -> None:
    """Judge all that can be judged, and remember what was asked for."""
    judge(parameters, current.run_id)
    if records.read(current.run_id, Asked) is None:  # a run of this machine has kept it before its first step
        records.write(current.run_id, Asked(values=dict(vars(parameters)), started=time.time()))
    current.keep(records.Check(model_name=parameters.model_name))


def judge(parameters: Parameters, run_id: str) -> None:
    """Judge all values together, then have the engine judge its surroundings; say what may take longer than it has to.

    Raises:
        HyperflowError: They cannot work.
    """
    translation.judge(parameters)
    tune = translation.tune_spec(parameters, run_id, "/")
    train = translation.train_spec(parameters, run_id, "/", {})
    serve = translation.serve_spec(parameters, run_id, ModelRef("/"))
    engine = get_engine()
    engine.check(tune, train, serve)
    described = engine.describe(tune.trainer)
    if described:
        translation.judge_trainer(parameters, described)
    if translation.may_train_anew(parameters, described or translation.our_trainer(parameters)):
        print(_MAY_TRAIN_ANEW, flush=True)
