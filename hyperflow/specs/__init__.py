"""What an engine is asked for and what it answers: frozen values that refuse what cannot work when they are made.

    ModelRef ──────────────┐
    Trainer, Compute ──┐   │
    Dimension ─────────┼─> TuneSpec  ─ engine.tune  ─> TuneResult (Trial, …)
    Objective ─────────┤   │
    Algorithm ─────────┘   │
                           TrainSpec ─ engine.train ─> TrainResult
                           ServeSpec ─ engine.serve ─> Endpoint
                           Question  ─ engine.ask   ─> Answer

Nothing here knows how an engine works, and nothing here touches a disk or a network.
"""

from __future__ import annotations

from hyperflow.specs.algorithms import ALGORITHMS
from hyperflow.specs.approval import Answer, Question
from hyperflow.specs.data import DataRef
from hyperflow.specs.description import Description
from hyperflow.specs.search import Algorithm, Dimension, Direction, Distribution, EarlyStopping, Objective
from hyperflow.specs.serve import RUNTIMES, Endpoint, ModelRef, ServeSpec
from hyperflow.specs.train import TrainResult, TrainSpec
from hyperflow.specs.trainer import Compute, Trainer
from hyperflow.specs.tune import Trial, TuneResult, TuneSpec
from hyperflow.specs.values import (
    Value,
    check_claim,
    check_run_id,
    check_service_name,
    fingerprint,
    format_value,
    job_name,
)
from hyperflow.specs.verdict import Comparison, Decision, Drift, InputDrift, Rule

__all__ = [
    "ALGORITHMS",
    "RUNTIMES",
    "Algorithm",
    "Answer",
    "Comparison",
    "Compute",
    "DataRef",
    "Decision",
    "Description",
    "Dimension",
    "Direction",
    "Distribution",
    "Drift",
    "EarlyStopping",
    "Endpoint",
    "InputDrift",
    "ModelRef",
    "Objective",
    "Question",
    "Rule",
    "ServeSpec",
    "TrainResult",
    "TrainSpec",
    "Trainer",
    "Trial",
    "TuneResult",
    "TuneSpec",
    "Value",
    "check_claim",
    "check_run_id",
    "check_service_name",
    "fingerprint",
    "format_value",
    "job_name",
]
