"""What each pipeline step does; the components are thin signatures over these functions.

Every step writes one record, `runs/<run id>/steps/<stage>.json`: how long it took and what came of
it. The summary and the report of a run are made from these records alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hyperflow import datasets, progress, report, volume
from hyperflow.engines import get_engine
from hyperflow.errors import Cancelled, HyperflowError, JobFailed
from hyperflow.parameters import Parameters
from hyperflow.specs import ModelRef, TrainResult, Trial, TuneResult, Value, check_run_id
from hyperflow.volume import cards

RUN_ID = "HYPERFLOW_RUN_ID"
"""Environment variable that names the run where KFP's own id would not do: on this machine, so that a run can go on."""

DEBUG = "HYPERFLOW_DEBUG"
"""Environment variable that asks for tracebacks."""

EVALUATION = Path("assets.extra") / "evaluation.json"
"""Where in a SavedModel a trainer may leave its evaluation (TensorFlow's folder for extras beside a model)."""


@dataclass(frozen=True)
class Step:
    """One step of one run, while it runs.

    Args:
        stage: Its name.
        run_id: The run's id.
        record: What came of it, filled by the step.
    """

    stage: str
    run_id: str
    record: dict[str, Any]

    def say(self, text: str) -> None:
        """Report the step's end in one line."""
        progress.to_stdout(progress.Progress(self.stage, 1, 1, text))


@contextmanager
def step(stage: str, run_id: str) -> Iterator[Step]:
    """Run a step's body: time it, keep its record, and end the process with one clear message if it fails.

    Args:
        stage: The step's name.
        run_id: KFP's id of the run; HYPERFLOW_RUN_ID wins over it.

    Raises:
        SystemExit: The body raised an error of ours, which has been printed.
    """
    signal.signal(signal.SIGTERM, _cancel)
    started = time.time()
    try:
        current = Step(stage, os.environ.get(RUN_ID) or run_id, {})
        check_run_id(current.run_id)
        yield current
        record = {"stage": stage, "started": started, "seconds": round(time.time() - started, 3), **current.record}
        path = volume.run_path(current.run_id) / "steps" / f"{stage}.json"
        volume.write_text(path, json.dumps(record, indent=2, default=_plain))
    except (HyperflowError, KeyboardInterrupt) as error:
        if os.environ.get(DEBUG):
            raise
        shown = error if isinstance(error, HyperflowError) else Cancelled(f"{stage} was stopped")
        print(f"error: {shown}", file=sys.stderr, flush=True)
        raise SystemExit(shown.exit_code) from error


def check(current: Step, parameters: Parameters) -> None:
    """Refuse, before anything is made, what this engine could not carry through.

    Making the parameters has judged their values; here the engine judges its surroundings.
    """
    get_engine().check(parameters.tune_spec("check", "/"), parameters.serve_spec("check", ModelRef("/")))
    current.record.update(model_name=parameters.model_name)


def load_data(current: Step, parameters: Parameters) -> datasets.Dataset:
    """Put the verified data set on the volume."""
    dataset = datasets.load(parameters.data_source, parameters.dataset)
    current.record.update(dataset=asdict(dataset))
    counts = f"{dataset.train_count} training and {dataset.test_count} test images"
    current.say(f"{dataset.name}: {counts} at {dataset.path}")
    return dataset


def tune(current: Step, parameters: Parameters, data_path: str, page: str) -> TuneResult:
    """Search for hyper-parameters and write the trials' page."""
    spec = parameters.tune_spec(current.run_id, data_path)
    engine = get_engine()
    _say_reaped(engine.reap())
    result = engine.tune(spec)
    current.record.update(
        metric=spec.objective.metric, direction=spec.objective.direction, best=_trial(result.best),
        trials=[_trial(trial) for trial in result.trials], location=result.location,
    )  # fmt: skip
    write_page(page, "Tuning", [report.trials(current.record)])
    return result


def train(
    current: Step, parameters: Parameters, data_path: str, best: Mapping[str, Value], tuned: bool, page: str
) -> tuple[ModelRef, TrainResult, dict[str, Any]]:
    """Train with the best hyper-parameters; return the model, how it went, and the trainer's evaluation or {}."""
    spec = parameters.train_spec(current.run_id, data_path, best)
    engine = get_engine()
    _say_reaped(engine.reap())
    result = engine.train(spec)
    if "test-accuracy" not in result.metrics:
        raise JobFailed(
            f"the trainer of {spec.name} did not say how good its model is", "it printed no test-accuracy=<number>",
            "have it print the accuracy on the test set when the model is saved",
        )  # fmt: skip
    model = ModelRef(
        str(Path(result.model_path).parent), current.run_id, result.metrics["test-accuracy"],
        datasets.open_dataset(data_path).digest, best,
    )  # fmt: skip
    evaluation = read_evaluation(model.path)
    _remember(parameters, model, cards.code(spec), tuned)
    current.record.update(
        model=model, metrics=dict(result.metrics), curve=dict(result.curve), location=result.location,
        evaluation=evaluation,
    )  # fmt: skip
    write_page(page, "Training", report.training(current.record, _test_images(data_path, evaluation)))
    current.say(f"test accuracy {model.accuracy:.4f}, model at {result.model_path}")
    return model, result, evaluation


def read_evaluation(model_path: str) -> dict[str, Any]:
    """Return what a trainer left beside a model about its test, or nothing."""
    try:
        text = (Path(model_path) / volume.MODEL_VERSION / EVALUATION).read_text(encoding="utf-8")
        evaluation: dict[str, Any] = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return evaluation


def _remember(parameters: Parameters, model: ModelRef, code: str, tuned: bool) -> None:
    """Put a card beside a new model; a training that was done already keeps the one it has."""
    if cards.read(Path(model.path)):
        return
    earlier = cards.all_of(parameters.model_name)
    since = 0 if tuned else (earlier[-1].since_tuning + 1 if earlier else 1)
    card = cards.Card(model.run_id, model.data, code, model.parameters, model.accuracy, since)
    cards.write(parameters.model_name, card)


def _test_images(data_path: str, evaluation: Mapping[str, Any]) -> dict[int, Any]:
    """Return the images that the evaluation says were misread, by index."""
    wanted = [entry["index"] for entry in evaluation.get("misread", [])]
    if not wanted:
        return {}
    images = datasets.open_dataset(data_path).images("test")
    return {index: images[index] for index in wanted}


def write_page(path: str, title: str, sections: list[str]) -> None:
    """Write a step's page for the KFP UI."""
    volume.write_text(Path(path), report.page(title, sections))


def _trial(trial: Trial) -> dict[str, Any]:
    return {**vars(trial), "parameters": dict(trial.parameters), "metrics": dict(trial.metrics)}


def _say_reaped(names: list[str]) -> None:
    for name in names:
        print(f"deleted {name}, left by a run that has ended", flush=True)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else vars(value)


def _cancel(number: int, frame: object) -> None:
    raise Cancelled("the step was told to stop", f"it got {signal.Signals(number).name}", "run it again to go on")
