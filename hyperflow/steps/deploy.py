"""Serve a model beside, or in place of, what is served."""

from __future__ import annotations

from hyperflow import client, translation
from hyperflow.engines import get_engine
from hyperflow.parameters import Parameters
from hyperflow.specs import Endpoint, ModelRef
from hyperflow.steps import registration, turn
from hyperflow.steps.context import Step
from hyperflow.volume import lease, records


def run(current: Step, parameters: Parameters, model: ModelRef) -> Endpoint:
    """Serve the model, and return once it is this model that answers."""
    client.Access.from_environment()  # what cannot be asked is not deployed
    lease.hold(parameters.model_name, current.run_id, parameters.deploy_timeout + lease.STEP_SECONDS)
    with turn.ends_on_failure(parameters.model_name, current.run_id):
        if decided := records.read(current.run_id, records.Decide):
            turn.nothing_else_has_gone_live(current.run_id, parameters.model_name, decided)
        spec = registration.labelled(translation.serve_spec(parameters, current.run_id, model))
        endpoint = get_engine().serve(spec)
    current.keep(records.Deploy(endpoint=endpoint, uri=get_engine().uri(spec)))
    current.say(f"{endpoint.name} answers at {endpoint.url}; look at {endpoint.location}")
    return endpoint
