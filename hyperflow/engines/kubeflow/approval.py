"""Wait for a person's answer on a cluster, and give one: a ConfigMap that the steps make and may not change."""

from __future__ import annotations

import os
from http import HTTPStatus

from kubernetes import config

from hyperflow.engines.kubeflow import manifests
from hyperflow.engines.kubeflow.cluster import ApiError, Cluster
from hyperflow.engines.kubeflow.jobs import create_or_adopt
from hyperflow.engines.kubeflow.manifests.approval import LABEL, answer_of, name, question_of, with_answer
from hyperflow.engines.kubeflow.resources import CONFIG_MAP, SELF_REVIEW
from hyperflow.engines.kubeflow.watch import Change, Feed
from hyperflow.errors import Unavailable
from hyperflow.specs import Answer, Question
from hyperflow.volume import approvals


def wait(cluster: Cluster, question: Question) -> Answer | None:
    """Ask, and wait until there is an answer or the question's time is over."""
    item = create_or_adopt(cluster, CONFIG_MAP, manifests.approval(question))
    with Feed(cluster) as feed:
        feed.watch(CONFIG_MAP, fieldSelector=f"metadata.name={name(question.run_id)}")
        while not (given := answer_of(item)):
            change = feed.next(approvals.seconds_left(question))
            if change is None:
                return None
            assert isinstance(change, Change), "no log is followed"
            if change.deleted:
                what = f"the ConfigMap {name(question.run_id)}, in which this run asks for approval, is gone"
                raise Unavailable(what, "somebody has deleted it", "run the step again; it asks until the same time")
            item = change.object
    return given


def answer(cluster: Cluster, run_id: str, given: Answer) -> None:
    """Answer what a run asks; the engine's contract says what is raised."""
    while True:
        item = cluster.get(CONFIG_MAP, name(run_id))
        if item is None or LABEL not in item["metadata"].get("labels", {}):
            what = f"run {run_id} asks nobody in the namespace {cluster.namespace}"
            remedy = f"see `hyperflow approvals --namespace {cluster.namespace}`, or give another one"
            raise Unavailable(what, f"no ConfigMap {name(run_id)} asks there", remedy)
        first = answer_of(item)
        if first == given:
            return  # the request was made twice, as its first answer was lost on the way
        approvals.refuse_late(question_of(item), first)
        try:
            cluster.replace(CONFIG_MAP, with_answer(item, given))
            return
        except ApiError as error:
            if error.status == HTTPStatus.FORBIDDEN:
                raise _no_right(cluster, given, error) from error
            if error.status != HTTPStatus.CONFLICT:
                raise


def open_questions(cluster: Cluster) -> list[Question]:
    """Return what waits for an answer in the namespace, the oldest first."""
    items = cluster.list(CONFIG_MAP, labelSelector=f"{LABEL}=asked")["items"]
    found = [question_of(item) for item in items if not answer_of(item)]
    return sorted((question for question in found if question.is_open), key=lambda question: question.asked)


def person(cluster: Cluster) -> str:
    """Return the user that the API server takes us for; a server that does not say so leaves the kubeconfig's name."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": SELF_REVIEW.kind}
    try:
        return str(cluster.create(SELF_REVIEW, review)["status"]["userInfo"]["username"])
    except ApiError:
        try:
            _, context = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
        except config.ConfigException as error:
            raise Unavailable("nobody knows who you are", str(error), "use a kubeconfig with a user") from error
        return str(context["context"]["user"])


def _no_right(cluster: Cluster, given: Answer, error: ApiError) -> Unavailable:
    bind = f"kubectl create rolebinding approver -n {cluster.namespace} --role=hyperflow-approver --user={given.who}"
    return Unavailable(
        f"{given.who} may not answer in the namespace {cluster.namespace}", error.message,
        f"ask somebody who may, or have the namespace's admin give you the right: {bind}",
    )  # fmt: skip
