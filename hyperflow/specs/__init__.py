"""What an engine is asked for and what it answers: frozen values that refuse what cannot work when they are made.

    ModelRef ──────────────┐
    Trainer, Compute ──┐   │
    Parameter ─────────┼─> TuneSpec  ─ engine.tune  ─> TuneResult (Trial, …)
    Objective ─────────┤   │
    Algorithm ─────────┘   │
                           TrainSpec ─ engine.train ─> TrainResult
                           ServeSpec ─ engine.serve ─> Endpoint

Nothing here knows how an engine works, and nothing here touches a disk or a network.
"""

from __future__ import annotations

from hyperflow.specs.jobs import Compute, Trainer, TrainResult, TrainSpec, Trial, TuneResult, TuneSpec
from hyperflow.specs.search import ALGORITHMS, Algorithm, Direction, Distribution, EarlyStopping, Objective, Parameter
from hyperflow.specs.serving import RUNTIMES, Endpoint, ModelRef, ServeSpec
from hyperflow.specs.values import (
    Value,
    check_claim,
    check_run_id,
    check_service_name,
    fingerprint,
    format_value,
    job_name,
)

__all__ = [
    "ALGORITHMS",
    "RUNTIMES",
    "Algorithm",
    "Compute",
    "Direction",
    "Distribution",
    "EarlyStopping",
    "Endpoint",
    "ModelRef",
    "Objective",
    "Parameter",
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
