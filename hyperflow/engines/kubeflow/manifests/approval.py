"""A question to a person as a ConfigMap: made without an answer, and changed by nobody but who answers."""

from __future__ import annotations

from hyperflow.engines.kubeflow.manifests.common import SPEC_ANNOTATION, Manifest, labels
from hyperflow.specs import Answer, Question, fingerprint, job_name
from hyperflow.volume import approvals

LABEL = "hyperflow.dev/approval"
"""What tells these ConfigMaps from others: lists select by it, and so does manifests/admin/approval-policy.yaml."""

_QUESTION = "question"


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
        "data": {_QUESTION: approvals.to_json(question)},
    }


def name(run_id: str) -> str:
    """Return the name of a run's question."""
    return job_name("approve", run_id)


def with_answer(item: Manifest, answer: Answer) -> Manifest:
    """Return the ConfigMap with an answer, each part of it a key that an admission policy can read."""
    given = {"approved": str(answer.approved).lower(), "who": answer.who, "why": answer.why, "at": repr(answer.at)}
    return {**item, "data": {**item["data"], **given}}


def question_of(item: Manifest) -> Question:
    """Read what a ConfigMap asks."""
    return approvals.from_json(item["data"][_QUESTION], Question)


def answer_of(item: Manifest) -> Answer | None:
    """Read what was answered, or None."""
    data = item.get("data") or {}
    if "approved" not in data:
        return None
    return Answer(data["approved"] == "true", data["who"], data["why"], float(data["at"]))
