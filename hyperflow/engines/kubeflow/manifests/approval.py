"""A question to a person as a ConfigMap: made without an answer, and changed by nobody but who answers."""

from __future__ import annotations

from hyperflow.engines.kubeflow.manifests.common import SPEC_ANNOTATION, Manifest, labels
from hyperflow.specs import Question, fingerprint, job_name
from hyperflow.volume import approvals

LABEL = "hyperflow.dev/approval"
"""What tells these ConfigMaps from others: lists select by it, and so does manifests/admin/approval-policy.yaml."""

QUESTION, ANSWER = "question", "answer"
"""Keys of its data."""


def approval(question: Question) -> Manifest:
    """Build the ConfigMap that asks."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name(question.run_id),
            "labels": {**labels(question.run_id), LABEL: "asked"},
            "annotations": {SPEC_ANNOTATION: fingerprint(question)},
        },
        "data": {QUESTION: approvals.to_json(question)},
    }


def name(run_id: str) -> str:
    """Return the name of a run's question."""
    return job_name("approve", run_id)
