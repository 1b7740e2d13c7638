"""Test the deployed model with labelled images; promote it, or put the previous one back and fail."""

from __future__ import annotations

from hyperflow import client, datasets, report, volume
from hyperflow.engines import get_engine
from hyperflow.errors import Cancelled, HyperflowError, JobFailed
from hyperflow.evaluation import drift, smoke
from hyperflow.parameters import Parameters
from hyperflow.specs import Endpoint
from hyperflow.steps import turn
from hyperflow.steps.context import Step
from hyperflow.volume import cards, lease, paths, records

SECONDS = 3600
"""The time limit of this step (pipelines/delivery.py)."""


def run(
    current: Step, parameters: Parameters, endpoint: Endpoint, data_path: str, page: str
) -> tuple[smoke.SmokeTest, Endpoint]:
    """Test, then promote or put back; return the test and where the service's users meet the model."""
    client.Access.from_environment()
    lease.hold(endpoint.name, current.run_id, SECONDS + lease.STEP_SECONDS)
    with turn.ends_on_failure(endpoint.name, current.run_id):
        tested = _test_and_promote(current, parameters, _deployed(current.run_id, endpoint), data_path, page)
    lease.release(endpoint.name, current.run_id)
    return tested


def _test_and_promote(
    current: Step, parameters: Parameters, endpoint: Endpoint, data_path: str, page: str
) -> tuple[smoke.SmokeTest, Endpoint]:
    dataset = datasets.open_dataset(data_path)
    chosen = smoke.choose(dataset, parameters.smoke_instances)
    images, labels = dataset.images("test")[chosen], dataset.labels("test")[chosen]
    try:
        with drift.own_questions(endpoint):
            result = smoke.run(endpoint, images, labels, first_seconds=smoke.START_SECONDS)
        smoke.check_classes(result, dataset)
        smoke.judge(result, parameters.smoke_accuracy_floor, parameters.smoke_p99_ms, endpoint.model.accuracy)
    except Cancelled:
        raise
    except HyperflowError as failure:
        raise _restored(current.run_id, endpoint, failure) from failure
    promoted = get_engine().promote(endpoint.name)
    cards.goes_live(endpoint.name, current.run_id)
    current.keep(records.Predict(endpoint=promoted, classes=dataset.classes, **smoke.figures(result)))
    answers = report.answers(images, labels, result.answers, dataset.classes)
    report.write(page, "Smoke test", [report.summary({"smoke test": smoke.figures(result)}), answers])
    speed = smoke.speed(result.p50_ms, result.p99_ms, result.first_ms)
    current.say(f"accuracy {result.accuracy:.3f} of {result.instances} images, {speed}, at {promoted.url}")
    return result, promoted


def _deployed(run_id: str, endpoint: Endpoint) -> Endpoint:
    """Say where the model is asked now: KFP retries a step that may have promoted it, or put the previous one back."""
    now = get_engine().deployed(endpoint.name)
    if now is not None and now.model.path == endpoint.model.path:
        return now
    what = f"{endpoint.model.path} is no longer deployed as {endpoint.name}"
    taken_back = paths.taken_back(run_id)
    if taken_back.exists():
        raise JobFailed(what, f"an earlier attempt of this step has taken it back: {taken_back.read_text()}")
    raise JobFailed(
        what, f"{f'{now.model.path} is' if now else 'none is'}; another run has replaced it", "run this again"
    )


def _restored(run_id: str, endpoint: Endpoint, failure: HyperflowError) -> JobFailed:
    """Put the previous model back and say both what failed and what is served now, to a later attempt too."""
    volume.write_text(paths.taken_back(run_id), str(failure))
    try:
        back = get_engine().restore(endpoint.name)
        now = f"the previous model ({back.model.path}) is served again at {back.url}"
        error = JobFailed(f"{failure.what}; {now}", failure.why, failure.remedy)
    except JobFailed as second:
        error = JobFailed(f"{failure.what}, and nothing could be put back", f"{failure.why}\n{second}", failure.remedy)
    volume.write_text(paths.taken_back(run_id), str(error))
    return error
