"""The end of every run: decide, deploy, test where it is served; one run at a time for one service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hyperflow import client, datasets, report, volume
from hyperflow.engines import get_engine
from hyperflow.errors import Cancelled, Conflict, HyperflowError, JobFailed
from hyperflow.evaluation import compare, drift, gate, smoke
from hyperflow.parameters import Parameters
from hyperflow.specs import Endpoint, ModelRef
from hyperflow.steps.context import Step, read_evaluation, write_page
from hyperflow.volume import cards, lease, paths, runs

_TEST_SECONDS = 3600  # the time limit of the step that tests (pipelines/release.py)


def decide(current: Step, parameters: Parameters, candidate: ModelRef, data_path: str) -> tuple[gate.Decision, str]:
    """Compare the candidate with the floor and, on the same test set, with what is served; return the verdict too.

    On a yes the service is this run's until its smoke test has ended.
    """
    name = parameters.model_name
    rule = gate.Rule(parameters.accuracy_floor, parameters.significance, parameters.force)
    lease.hold(name, current.run_id, lease.STEP_SECONDS, parameters.turn_timeout)
    with _lease_ends_on(name, current.run_id):
        serving = get_engine().serving(name)
        comparison = _compare(candidate, serving, data_path, rule.force)
        served = serving.model if serving else None
        decision = gate.decide(candidate, served, comparison, rule)
        current.record.update(
            deploy=decision.deploy, reason=decision.reason, forced=decision.forced, candidate=candidate, serving=served,
            comparison=comparison, rule=rule,
        )  # fmt: skip
        _judged(parameters, candidate, decision, served)
    if not decision.deploy:
        lease.release(name, current.run_id)
    current.say(f"{'deploy' if decision.deploy else 'skip'}: {decision.reason}")
    return decision, gate.verdict(candidate, served, comparison, rule, decision)


def deploy(current: Step, parameters: Parameters, model: ModelRef) -> Endpoint:
    """Serve the model beside, or in place of, what is served."""
    client.Access.from_environment()  # what cannot be asked is not deployed
    lease.hold(parameters.model_name, current.run_id, parameters.deploy_timeout + lease.STEP_SECONDS)
    with _lease_ends_on(parameters.model_name, current.run_id):
        _decision_still_holds(current, parameters.model_name)
        endpoint = get_engine().serve(parameters.serve_spec(current.run_id, model))
    current.record.update(endpoint=endpoint)
    current.say(f"{endpoint.name} answers at {endpoint.url}; look at {endpoint.location}")
    return endpoint


def predict(
    current: Step, parameters: Parameters, endpoint: Endpoint, data_path: str, page: str
) -> tuple[smoke.SmokeTest, Endpoint]:
    """Test the deployed model with labelled images; promote it, or put the previous one back and fail."""
    client.Access.from_environment()
    lease.hold(endpoint.name, current.run_id, _TEST_SECONDS + lease.STEP_SECONDS)
    with _lease_ends_on(endpoint.name, current.run_id):
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
            result = smoke.run(endpoint, images, labels)
        smoke.judge(result, parameters.smoke_accuracy_floor, parameters.smoke_p99_ms)
    except Cancelled:
        raise
    except HyperflowError as failure:
        raise _restored(current.run_id, endpoint, failure) from failure
    promoted = get_engine().promote(endpoint.name)
    cards.release(endpoint.name, current.run_id)
    current.record.update(
        endpoint=promoted, accuracy=result.accuracy, instances=result.instances, p50_ms=result.p50_ms,
        p99_ms=result.p99_ms, classes=dataset.classes,
    )  # fmt: skip
    write_page(page, "Smoke test", [report.answers(images, labels, result.answers, dataset.classes)])
    speed = f"p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
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


def _compare(candidate: ModelRef, serving: Endpoint | None, data_path: str, force: bool) -> compare.Comparison | None:
    """Have the serving model read the candidate's test set; a forced run does without where it does not answer."""
    if serving is None or serving.model.run_id == candidate.run_id:
        return None
    dataset = datasets.open_dataset(data_path)
    labels = dataset.labels("test")
    try:
        with drift.own_questions(serving):
            theirs = compare.ask(serving, dataset.images("test"), "decide")
    except JobFailed as error:
        if not force:
            raise
        print(f"not compared: {error}", flush=True)
        return None
    ours = compare.predictions(read_evaluation(candidate.path), dataset.digest, len(labels))
    if ours is None:
        return compare.unpaired(candidate.accuracy, theirs, labels)
    return compare.paired(ours, theirs, labels)


@contextmanager
def _lease_ends_on(model_name: str, run_id: str) -> Iterator[None]:
    """Let other runs have the service if the block fails."""
    try:
        yield
    except BaseException:
        lease.release(model_name, run_id)
        raise


def _decision_still_holds(current: Step, model_name: str) -> None:
    """Refuse to deploy where another model has gone live since the decision: a step that is retried may be late."""
    decided = runs.record(current.run_id, "decide")
    serving = get_engine().serving(model_name)
    compared_with = (decided.get("serving") or {}).get("run_id")
    if decided and serving and serving.model.run_id not in (current.run_id, compared_with):
        raise Conflict(
            f"run {serving.model.run_id} has gone live as {model_name} since this run's decision",
            f"the candidate was compared with {f'run {compared_with}' if compared_with else 'nothing'}",
            "run this again; it will be compared with what is served now",
        )  # fmt: skip


def _judged(parameters: Parameters, candidate: ModelRef, decision: gate.Decision, serving: ModelRef | None) -> None:
    card = cards.read(Path(candidate.path))
    if card and not (serving and serving.run_id == candidate.run_id):
        against = serving.run_id if serving else ""
        answer = replace(card, deploy=decision.deploy, reason=decision.reason, against=against, forced=decision.forced)
        cards.write(parameters.model_name, answer)
