"""Plan what a recurring run has to do: nothing, train with the known best values, or search for better ones first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from hyperflow import datasets, report, translation
from hyperflow.engines import Engine, get_engine
from hyperflow.errors import HyperflowError
from hyperflow.evaluation import compare, drift, inputs
from hyperflow.parameters import Parameters
from hyperflow.specs import Drift, Endpoint, InputDrift, Value
from hyperflow.steps.context import Step
from hyperflow.volume import cards, evaluation, paths, records, retention

Action = Literal["skip", "train", "tune"]


@dataclass(frozen=True)
class Facts:
    """What the plan is made from.

    Args:
        data: Digest of the data set now.
        code: Digest of the trainer now.
        parameters: The values known best: the serving model's, overridden by those given.
        serving: Card of the serving model; None where nothing is served, or nothing is known of it.
        refused: Card of a model of this data and trainer that was refused beside the serving one, or None.
        since_tuning: Trainings since the last search, this one included.
        accuracy: The serving model's accuracy on this test set; None where that was not asked for.
        psi: Population stability index of the answers since the last look; None where nothing is known.
        inputs: How far the logged pictures are from those learnt from; None where nothing is known.
    """

    data: str
    code: str
    parameters: Mapping[str, Value]
    serving: cards.Card | None
    refused: cards.Card | None = None
    since_tuning: int = 1
    accuracy: float | None = None
    psi: float | None = None
    inputs: InputDrift | None = None


@dataclass(frozen=True)
class Plan:
    """What to do, and why.

    Args:
        action: `skip`, `train` or `tune`.
        reason: One sentence.
        parameters: What to train with; empty where a search finds it.
    """

    action: Action
    reason: str
    parameters: Mapping[str, Value]


def choose(facts: Facts, parameters: Parameters) -> Plan:
    """Decide what to do.

    Args:
        facts: What is known.
        parameters: What the user asks for.
    """
    known, serving = facts.parameters, facts.serving
    if not parameters.force and (idle := _nothing_new(facts)):
        return Plan("skip", idle, known)
    if not known:
        return Plan("tune", "no hyper-parameters are known: no model is served, and none were given", {})
    if why := _reason_to_tune(facts, parameters):
        return Plan("tune", why, {})
    if serving is None:
        return Plan("train", "no model is served", known)
    news = [name for name, one, other in (
        ("the data", facts.data, serving.data), ("the trainer", facts.code, serving.code),
    ) if one != other]  # fmt: skip
    news += [] if cards.same_parameters(known, serving.parameters) else ["best_parameters"]
    changed = f"{' and '.join(news)} changed since run {serving.run_id}" if news else "force is set"
    return Plan("train", changed, known)


def _nothing_new(facts: Facts) -> str:
    serving, refused = facts.serving, facts.refused
    now = (facts.data, facts.code)
    if serving and now == (serving.data, serving.code) and cards.same_parameters(facts.parameters, serving.parameters):
        return f"data and trainer are those of the model now serving (run {serving.run_id})"
    if refused:
        return f"run {refused.run_id} has tried this data and trainer already and was refused: {refused.reason}"
    return ""


def _reason_to_tune(facts: Facts, parameters: Parameters) -> str:
    if facts.serving is None or parameters.best_parameters:
        return ""
    fallen = facts.serving.accuracy - facts.accuracy if facts.accuracy is not None else 0.0
    if parameters.retune_every and facts.since_tuning >= parameters.retune_every:
        return f"training {facts.since_tuning} since the last search; retune_every is {parameters.retune_every}"
    if fallen > parameters.retune_accuracy_drop > 0:
        return (
            f"the serving model's accuracy has fallen from {facts.serving.accuracy:.4f} to {facts.accuracy:.4f} "
            f"on the new test set; retune_accuracy_drop is {parameters.retune_accuracy_drop:g}"
        )
    if facts.psi is not None and facts.psi > parameters.retune_drift > 0:
        return (
            f"the answers have drifted: their stability index is {facts.psi:.3f}; "
            f"retune_drift is {parameters.retune_drift:g}"
        )
    if facts.inputs and facts.inputs.exceeds(parameters.retune_input_drift):
        return (
            f"the inputs have drifted: their statistic is {facts.inputs.statistic:.3f}; "
            f"retune_input_drift is {parameters.retune_input_drift:g}"
        )
    return ""


def run(current: Step, parameters: Parameters, data_path: str, page: str) -> tuple[Plan, dict[str, float]]:
    """Tidy the volume, see how the serving model does, and decide what to do.

    Returns:
        The plan, and the metrics that led to it.
    """
    dataset = datasets.open_dataset(data_path)
    engine = get_engine()
    deleted = _tidy(current, parameters, dataset.name, engine)
    endpoint = engine.serving(parameters.model_name)
    drifted = _drift(endpoint) if endpoint else None
    sent, note = _inputs(parameters, endpoint, dataset)
    if note:
        print(f"drift of inputs: {note}", flush=True)
    facts = replace(gather(current, parameters, dataset, endpoint, drifted), inputs=sent)
    made = choose(facts, parameters)
    metrics = {"serving-accuracy": facts.accuracy} if facts.accuracy is not None else {}
    if drifted:
        metrics |= {
            "drift-psi": drifted.psi, "drift-chi-square": drifted.chi_square, "drift-p": drifted.p_value,
            "drift-instances": drifted.instances, "mean-confidence": drifted.confidence,
        }  # fmt: skip
    if sent:
        metrics |= {
            "input-drift": sent.statistic, "input-drift-p": sent.p_value, "input-instances": sent.inputs,
            "input-brightness-shift": sent.mean_shift,
        }  # fmt: skip
    record = records.Plan(
        action=made.action, reason=made.reason, parameters=made.parameters, metrics=metrics, drift=drifted,
        classes=dataset.classes, retune_drift=parameters.retune_drift, deleted=tuple(deleted),
        inputs=sent, inputs_note=note, retune_input_drift=parameters.retune_input_drift,
    )  # fmt: skip
    current.keep(record)
    report.write(page, "Plan", report.plan(record))
    current.say(f"{made.action}: {made.reason}")
    return made, metrics


def gather(
    current: Step,
    parameters: Parameters,
    dataset: datasets.Dataset,
    endpoint: Endpoint | None,
    drifted: Drift | None,
) -> Facts:
    """Find out what the plan is made from; the serving model reads the test set where that is not its own.

    Args:
        current: The step.
        parameters: What the user asks for.
        dataset: The data set as it is now.
        endpoint: The service, or None.
        drifted: How far its answers have drifted, where that is known.
    """
    trainer = translation.trainer(parameters)
    code = cards.code(trainer, translation.epochs(parameters), parameters.workers, parameters.parameter_servers)
    known = {**(endpoint.model.parameters if endpoint else {}), **parameters.best_parameters}
    made = [card for card in cards.all_of(parameters.model_name) if card.run_id != current.run_id]
    if endpoint is None:
        return Facts(dataset.digest, code, known, None)
    serving = next((card for card in made if card.run_id == endpoint.model.run_id), None)
    serving = serving or cards.Card(
        endpoint.model.run_id, endpoint.model.data, "", endpoint.model.parameters, endpoint.model.accuracy
    )
    tried = [card for card in made if (card.data, card.code) == (dataset.digest, code)]
    refused = [card for card in tried if card.against == serving.run_id and _was_refused(card, known, parameters)]
    accuracy = None
    if serving.data != dataset.digest and not refused:
        with drift.own_questions(endpoint):
            answers = compare.ask(endpoint, dataset.images("test"), "plan")
        accuracy = float(np.mean(answers == dataset.labels("test")))
    return Facts(
        dataset.digest, code, known, serving, refused[-1] if refused else None,
        made[-1].since_tuning + 1 if made else 1, accuracy, drifted.psi if drifted else None,
    )  # fmt: skip


def _was_refused(card: cards.Card, known: Mapping[str, Value], parameters: Parameters) -> bool:
    """Tell whether a model was refused that this run would make again: with the same values, or after a search."""
    searched = card.since_tuning == 0 and not parameters.best_parameters
    return card.deploy is False and (searched or cards.same_parameters(card.parameters, known))


def _drift(endpoint: Endpoint) -> Drift | None:
    traffic = drift.recent(endpoint)
    told = evaluation.read(endpoint.model.path)
    counts = told.train_class_counts
    if traffic is None or not counts:
        return None
    return drift.measure(traffic, counts, told.mean_confidence)


def _inputs(
    parameters: Parameters, endpoint: Endpoint | None, dataset: datasets.Dataset
) -> tuple[InputDrift | None, str]:
    """Compare what users have sent with what the serving model learnt from, and say what there is to say of it.

    A log that cannot be read or says nothing is no reason to end a run, nor to take inputs for drifted.
    """
    place = parameters.log_payloads
    folder = paths.payloads(place)
    if not place:
        return None, ""
    if folder is None:
        return None, f"nothing is known: payloads go to {place}, and only a folder on the volume is read"
    if endpoint is None:
        return None, "nothing is known: no model is served"
    try:
        learnt = datasets.of_digest(endpoint.model.data) or dataset
        found = inputs.look(folder, learnt.images("train"))
    except HyperflowError as error:
        return None, f"nothing is known: {error.what}: {error.why}" if error.why else f"nothing is known: {error.what}"
    return found, found.text


def _tidy(current: Step, parameters: Parameters, dataset: str, engine: Engine) -> list[str]:
    def live() -> list[str]:
        endpoint = engine.serving(parameters.model_name)
        models = (endpoint.model, endpoint.previous) if endpoint else ()
        return [Path(model.path).name for model in models if model]

    longest = parameters.tune_timeout + parameters.train_timeout + parameters.deploy_timeout
    keep = retention.Keep(parameters.keep_models, parameters.keep_runs, float(longest))
    deleted = retention.sweep(parameters.model_name, current.run_id, dataset, keep, live)
    for name in deleted:
        print(f"deleted {name}, which is older than what is kept", flush=True)
    return deleted
