"""Train with known hyper-parameters, and keep what a later run has to know of the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hyperflow import datasets, report, translation
from hyperflow.engines import get_engine
from hyperflow.errors import JobFailed
from hyperflow.parameters import Parameters
from hyperflow.specs import ModelRef, TrainResult, Value
from hyperflow.steps.context import Step, say_reaped
from hyperflow.volume import cards, evaluation, records


def run(
    current: Step, parameters: Parameters, data_path: str, best: Mapping[str, Value], tuned: bool, page: str
) -> records.Train:
    """Train, and write the training's page.

    Args:
        current: The step.
        parameters: What the user asks for.
        data_path: Folder of the data set.
        best: The hyper-parameters to train with.
        tuned: Whether this run has searched for them.
        page: Where to write the page.
    """
    spec = translation.train_spec(parameters, current.run_id, data_path, best)
    engine = get_engine()
    say_reaped(engine.reap())
    result = engine.train(spec)
    dataset = datasets.open_dataset(data_path)
    model = ModelRef(str(Path(result.model_path).parent), current.run_id, _accuracy(result), dataset.digest, best)
    _remember(parameters, model, cards.code(spec.trainer, spec.epochs, spec.workers, spec.parameter_servers), tuned)
    record = records.Train(
        model=model, metrics=result.metrics, curve=result.curve, location=result.location,
        evaluation=evaluation.read(model.path),
    )  # fmt: skip
    current.keep(record)
    report.write(page, "Training", report.training(record, dataset))
    current.say(f"test accuracy {model.accuracy:.4f}, model at {result.model_path}")
    return record


def _accuracy(result: TrainResult) -> float:
    if "test-accuracy" not in result.metrics:
        raise JobFailed(
            f"the trainer of {result.model_path} did not say how good its model is",
            "it printed no test-accuracy=<number>",
            "have it print the accuracy on the test set when the model is saved",
        )  # fmt: skip
    return result.metrics["test-accuracy"]


def _remember(parameters: Parameters, model: ModelRef, code: str, tuned: bool) -> None:
    """Put a card beside a new model; a training that was done already keeps the one it has."""
    if cards.read(Path(model.path)):
        return
    earlier = cards.all_of(parameters.model_name)
    since = 0 if tuned else (earlier[-1].since_tuning + 1 if earlier else 1)
    card = cards.Card(model.run_id, model.data, code, model.parameters, model.accuracy, since)
    cards.write(parameters.model_name, card)
