"""Serve a model beside, or in place of, what is served."""

from __future__ import annotations

from hyperflow import client, translation
from hyperflow.engines import get_engine
from hyperflow.errors import Conflict
from hyperflow.parameters import Parameters
from hyperflow.specs import Endpoint, ModelRef
from hyperflow.steps import turn
from hyperflow.steps.context import Step
from hyperflow.volume import lease, records


def run(current: Step, parameters: Parameters, model: ModelRef) -> Endpoint:
    """Serve the model, and return once it is this model that answers."""
    client.Access.from_environment()  # what cannot be asked is not deployed
    lease.hold(parameters.model_name, current.run_id, parameters.deploy_timeout + lease.STEP_SECONDS)
    with turn.ends_on_failure(parameters.model_name, current.run_id):
        _decision_still_holds(current, parameters.model_name)
        endpoint = get_engine().serve(translation.serve_spec(parameters, current.run_id, model))
    current.keep(records.Deploy(endpoint=endpoint))
    current.say(f"{endpoint.name} answers at {endpoint.url}; look at {endpoint.location}")
    return endpoint


def _decision_still_holds(current: Step, model_name: str) -> None:
    """Refuse to deploy where another model has gone live since the decision: a step that is retried may be late."""
    decided = records.read(current.run_id, records.Decide)
    serving = get_engine().serving(model_name)
    compared_with = decided.serving.run_id if decided and decided.serving else ""
    if decided and serving and serving.model.run_id not in (current.run_id, compared_with):
        raise Conflict(
            f"run {serving.model.run_id} has gone live as {model_name} since this run's decision",
            f"the candidate was compared with {f'run {compared_with}' if compared_with else 'nothing'}",
            "run this again; it will be compared with what is served now",
        )  # fmt: skip
