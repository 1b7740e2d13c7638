"""The folder of a run as its steps leave it: their own records, the trials' logs, the model's card."""

from __future__ import annotations

import time
from pathlib import Path

from hyperflow import volume
from hyperflow.report import run
from hyperflow.specs import Answer, DataRef, Endpoint, ModelRef, Rule, Trial
from hyperflow.volume import cards, paths, records, summary
from hyperflow.volume.records import Asked, Check, Decide, LoadData, Plan, Predict, Train, Tune

RUN = "20260301-120000-ab12"
MODEL = "fashion"
EPOCHS = 3
VALUES = {
    "model_name": MODEL,
    "epochs": EPOCHS,
    "search_space": {"rate": {"min": 0.1}},
    "trial_arguments": {},
    "note": "",
}
TRIALS = (
    Trial("tune-000", "succeeded", {"rate": 0.1, "units": 64}, 0.75, {"validation-accuracy": 0.7, "loss": 0.5}, 2.5, 1),
    Trial("tune-001", "early-stopped", {"rate": 0.2, "units": 32}, 0.5, {"validation-accuracy": 0.5}, 1.0),
    Trial("tune-002", "failed", {"rate": 0.3, "units": 16}),
)
LOG = "epoch=1 loss=0.9 validation-accuracy=0.6\nepoch=2 loss=0.6 validation-accuracy=0.75\nepoch=3 loss=0.5 validation-accuracy=0.7\n"  # noqa: E501
DATA = DataRef("small", "/data/small/0e73", "0e73", 60, 10, ("shirt", "boot"))
CURVE = {"epoch": [1.0, 2.0, 3.0], "loss": [0.8, 0.6, 0.4], "test-accuracy": [0.8]}


def write(run_id: str = RUN, *, until: str = "predict", report: bool = True) -> ModelRef:
    """Write a run's folder as it is when the step `until` has ended.

    Args:
        run_id: The run.
        until: The last step.
        report: Whether the run has ended well, with a report.
    """
    model = ModelRef(str(volume.model_path(MODEL, run_id)), run_id, 0.8, "0e73", {"rate": 0.1, "units": 64})
    began = time.time() - 60
    kept: list[records.Record] = [
        Check(model_name=MODEL), LoadData(dataset=DATA),
        Plan(
            action="tune", reason="there is no model", parameters={}, metrics={}, drift=None, classes=(),
            retune_drift=0.2,
        ),
        Tune(metric="validation-accuracy", direction="maximize", best=TRIALS[0], trials=TRIALS),
        Train(model=model, metrics={"loss": 0.4, "test-accuracy": 0.8}, curve=CURVE),
        Decide(
            deploy=True, reason="0.8 is above the floor", forced=False, candidate=model, serving=None, comparison=None,
            rule=Rule(0.5), approval=Answer(True, "ann", "seen the misread ones", 0.0),
        ),
        Predict(endpoint=Endpoint(MODEL, "http://here", model), accuracy=0.9, instances=10, p50_ms=1.5, p99_ms=4.0),
    ]  # fmt: skip
    records.write(run_id, Asked(pipeline="/build/train_and_serve.yaml", values=VALUES, started=began))
    paths.tuning(run_id).mkdir(parents=True, exist_ok=True)
    (paths.tuning(run_id) / "trial-000.log").write_text(LOG)
    for number, record in enumerate(kept):
        begun = {"started": began + number, "seconds": 0.5 + number}
        records.write(run_id, type(record)(**{**vars(record), **begun}))
        if record.stage == "train":
            cards.write(MODEL, cards.Card(run_id, "0e73", "c0de", model.parameters, 0.8))
        if record.stage == until:
            break
    if report:
        volume.write_text(paths.run_report(run_id), "<html>report</html>")
    return model


def lock(folder: Path) -> None:
    """Leave what the process of a run of this machine leaves when it has gone."""
    (folder / "lock").touch()


def summarise(run_id: str = RUN) -> None:
    """Write the summary that a run of this machine has when it has ended."""
    summary.write(run.summarise(run_id, records.read_all(run_id), time.time()))
