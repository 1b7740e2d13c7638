"""What the YAML asks of KFP's server beyond what every release takes: for which of them it is, the environment says."""

from __future__ import annotations

import os

from kfp import dsl

KFP = "HYPERFLOW_KFP"
"""Environment variable with the least version of KFP's server that the YAML is for (docs/decisions/kfp-versions.md)."""

STATES_USER = os.environ.get(KFP) in ("2.16", "2.17")
"""Whether each step states its user; 2.14 and 2.15 refuse YAML that has the field."""

_WEEK = 7 * 24 * 3600


def pipeline_config() -> dsl.PipelineConfig | None:
    """Return how long a Workflow stays after its end, and with it the jobs that it owns; before 2.17 nobody can say."""
    return dsl.PipelineConfig(ttl_seconds_after_finished=_WEEK) if os.environ.get(KFP) == "2.17" else None
