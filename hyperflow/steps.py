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

import numpy as np

from hyperflow import data, gate, progress, report, smoke, volume
from hyperflow.engines import get_engine
from hyperflow.errors import Cancelled, HyperflowError, JobFailed
from hyperflow.parameters import Parameters
from hyperflow.specs import Endpoint, ModelRef, TrainResult, Trial, TuneResult, Value, check_run_id

RUN_ID = "HYPERFLOW_RUN_ID"
"""Environment variable that names the run where KFP's own id would not do: on this machine, so that a run can go on."""

DEBUG = "HYPERFLOW_DEBUG"
"""Environment variable that asks for tracebacks."""

SMOKE_SEED = 0
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


def check(parameters: Parameters) -> None:
    """Refuse, before anything is made, what this engine could not carry through.

    Making the parameters has judged their values; here the engine judges its surroundings.
    """
    get_engine().check(parameters.tune_spec("check", "/"), parameters.serve_spec("check", ModelRef("/")))


def load_data(current: Step, parameters: Parameters) -> data.Dataset:
    """Put the verified data set on the volume."""
    dataset = data.load(parameters.data_source, parameters.dataset)
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
    _write_page(page, "Tuning", [report.trials(current.record)])
    return result


def train(
    current: Step, parameters: Parameters, data_path: str, best: Mapping[str, Value], page: str
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
        data.open_dataset(data_path).digest, best,
    )  # fmt: skip
    evaluation = _evaluation(result.model_path)
    current.record.update(
        model=model, metrics=dict(result.metrics), curve=dict(result.curve), location=result.location,
        evaluation=evaluation,
    )  # fmt: skip
    _write_page(page, "Training", report.training(current.record, _test_images(data_path, evaluation)))
    current.say(f"test accuracy {model.accuracy:.4f}, model at {result.model_path}")
    return model, result, evaluation


def decide(current: Step, parameters: Parameters, candidate: ModelRef) -> gate.Decision:
    """Compare the candidate with the floor and with what is served."""
    serving = get_engine().serving(parameters.model_name)
    decision = gate.decide(candidate, serving.model if serving else None, parameters.accuracy_floor)
    current.record.update(
        deploy=decision.deploy, reason=decision.reason, candidate=candidate, serving=serving.model if serving else None
    )
    current.say(f"{'deploy' if decision.deploy else 'skip'}: {decision.reason}")
    return decision


def deploy(current: Step, parameters: Parameters, model: ModelRef) -> Endpoint:
    """Serve the model beside, or in place of, what is served."""
    endpoint = get_engine().serve(parameters.serve_spec(current.run_id, model))
    current.record.update(endpoint=endpoint)
    current.say(f"{endpoint.name} answers at {endpoint.url}; look at {endpoint.location}")
    return endpoint


def predict(
    current: Step, parameters: Parameters, endpoint: Endpoint, data_path: str, page: str
) -> tuple[smoke.SmokeTest, Endpoint]:
    """Test the deployed model with labelled images; promote it, or put the previous one back and fail."""
    dataset = data.open_dataset(data_path)
    labels = dataset.labels("test")
    chosen = np.sort(np.random.default_rng(SMOKE_SEED).permutation(len(labels))[: parameters.smoke_instances])
    images, labels = dataset.images("test")[chosen], labels[chosen]
    try:
        result = smoke.run(endpoint, images, labels)
        _judge(result, parameters)
    except JobFailed as failure:
        raise _restored(endpoint, failure) from failure
    promoted = get_engine().promote(endpoint.name)
    current.record.update(
        endpoint=promoted, accuracy=result.accuracy, instances=result.instances, p50_ms=result.p50_ms,
        p99_ms=result.p99_ms, classes=dataset.classes,
    )  # fmt: skip
    _write_page(page, "Smoke test", [report.answers(images, labels, result.answers, dataset.classes)])
    speed = f"p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
    current.say(f"accuracy {result.accuracy:.3f} of {result.instances} images, {speed}, at {promoted.url}")
    return result, promoted


def _judge(result: smoke.SmokeTest, parameters: Parameters) -> None:
    if result.accuracy < parameters.smoke_accuracy_floor:
        raise JobFailed(
            "the deployed model reads too few images right",
            f"{result.accuracy:.3f} of {result.instances}; smoke_accuracy_floor is {parameters.smoke_accuracy_floor}",
            "see whether it was trained and is served with the same scaling of pixels",
        )  # fmt: skip
    if result.p99_ms > parameters.smoke_p99_ms:
        raise JobFailed(
            "the deployed model answers too slowly",
            f"99 % of requests took up to {result.p99_ms:.1f} ms; smoke_p99_ms is {parameters.smoke_p99_ms:g}",
            "give the service more cpu or replicas, or raise smoke_p99_ms",
        )  # fmt: skip


def _restored(endpoint: Endpoint, failure: JobFailed) -> JobFailed:
    """Put the previous model back and say both what failed and what is served now."""
    try:
        back = get_engine().restore(endpoint.name)
    except JobFailed as error:
        return JobFailed(f"{failure.what}, and nothing could be put back", f"{failure.why}\n{error}", failure.remedy)
    now = f"the previous model ({back.model.path}) is served again at {back.url}"
    return JobFailed(f"{failure.what}; {now}", failure.why, failure.remedy)


def _evaluation(model_path: str) -> dict[str, Any]:
    try:
        evaluation: dict[str, Any] = json.loads((Path(model_path) / EVALUATION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return evaluation


def _test_images(data_path: str, evaluation: Mapping[str, Any]) -> dict[int, Any]:
    """Return the images that the evaluation says were misread, by index."""
    wanted = [entry["index"] for entry in evaluation.get("misread", [])]
    if not wanted:
        return {}
    images = data.open_dataset(data_path).images("test")
    return {index: images[index] for index in wanted}


def _write_page(path: str, title: str, sections: list[str]) -> None:
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
