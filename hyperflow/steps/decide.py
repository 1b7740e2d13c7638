"""Decide whether a model deserves to be served; on a yes the service is this run's until its smoke test has ended."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from hyperflow import datasets
from hyperflow.engines import get_engine
from hyperflow.errors import JobFailed
from hyperflow.evaluation import compare, drift, gate
from hyperflow.parameters import Parameters
from hyperflow.specs import Comparison, Decision, Endpoint, ModelRef, Rule
from hyperflow.steps import approval, turn
from hyperflow.steps.context import Step
from hyperflow.volume import cards, evaluation, lease, records


def run(current: Step, parameters: Parameters, candidate: ModelRef, data_path: str) -> tuple[Decision, str]:
    """Compare the candidate with the floor and, on the same test set, with what is served; return the text too."""
    name = parameters.model_name
    rule = Rule(parameters.accuracy_floor, parameters.significance, parameters.force)
    lease.hold(name, current.run_id, lease.STEP_SECONDS, parameters.turn_timeout)
    with turn.ends_on_failure(name, current.run_id):
        serving = get_engine().serving(name)
        comparison = _compare(candidate, serving, data_path, rule.force)
        served = serving.model if serving else None
        decision = gate.decide(candidate, served, comparison, rule)
        judged = records.Decide(
            deploy=decision.deploy, reason=decision.reason, forced=decision.forced, candidate=candidate, serving=served,
            comparison=comparison, rule=rule,
        )  # fmt: skip
        verdict = gate.verdict(candidate, served, comparison, rule, decision)
        if answer := approval.seek(current, parameters, judged, verdict, data_path):
            decision = gate.with_approval(decision, answer)
            judged = replace(judged, deploy=decision.deploy, reason=decision.reason, approval=answer)
            verdict = gate.verdict(candidate, served, comparison, rule, decision)
        current.keep(judged)
        _judged(parameters, candidate, judged)
    if not decision.deploy:
        lease.release(name, current.run_id)
    current.say(f"{'deploy' if decision.deploy else 'skip'}: {decision.reason}")
    return decision, verdict


def _compare(candidate: ModelRef, serving: Endpoint | None, data_path: str, force: bool) -> Comparison | None:
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
    ours = compare.predictions(evaluation.read(candidate.path), dataset.digest, len(labels))
    if ours is None:
        return compare.unpaired(candidate.accuracy, theirs, labels)
    return compare.paired(ours, theirs, labels)


def _judged(parameters: Parameters, candidate: ModelRef, judged: records.Decide) -> None:
    card, serving = cards.read(Path(candidate.path)), judged.serving
    if card and not (serving and serving.run_id == candidate.run_id):
        answer = replace(
            card, deploy=judged.deploy, reason=judged.reason, against=serving.run_id if serving else "",
            forced=judged.forced, approval=asdict(judged.approval) if judged.approval else None,
        )  # fmt: skip
        cards.write(parameters.model_name, answer)
