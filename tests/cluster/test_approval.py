"""A model that waits for a person, on a real API server: its RBAC, its admission policy, and the names it knows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.engines.kubeflow.cluster import Cluster
from hyperflow.errors import Conflict, Unavailable
from hyperflow.specs import Answer
from tests.cluster.check import wait_for
from tests.cluster.crds import load_yaml
from tests.cluster.world import World, collection
from tests.kubeflow.store import Object, Refusal
from tests.kubeflow.test_approval import question

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

MANIFESTS = Path(__file__).parents[2] / "manifests"
NAME = "approve-run-1"
_POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
_BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"


class Office:
    """A namespace with the approver's Role, people in it, and a step that waits."""

    def __init__(self, world: World) -> None:
        self.world, self.pool = world, ThreadPoolExecutor(4)
        (role,) = load_yaml(MANIFESTS / "base" / "approver.yaml")
        world.api.create(world.path("roles"), role)
        for name in ("alice", "bob", "carol"):
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
            world.api.create(world.path("serviceaccounts"), account)
        for name in ("alice", "bob"):
            self.bind(name, "Role", "hyperflow-approver")

    def bind(self, account: str, kind: str, role: str) -> None:
        """Give an account a role in the namespace."""
        self.world.api.create(self.world.path("rolebindings"), {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": f"{account}-{role}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": self.world.namespace}],
        })  # fmt: skip

    def person(self, account: str) -> KubeflowEngine:
        """Return the engine as an account uses it."""
        spec = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        answer = self.world.api.create(collection(self.world.namespace, "serviceaccounts", f"{account}/token"), spec)
        cluster = self.world.parts.cluster
        config = cluster.kubeconfig_for(f"{self.world.namespace}-{account}", answer["status"]["token"])
        with patch.dict(os.environ, {"KUBECONFIG": str(config)}):
            return KubeflowEngine(cluster=Cluster(self.world.namespace, patience=30))

    def ask(self, seconds: float = 100) -> Future[Answer]:
        """Have a step ask, and return once the question stands."""
        asked = self.pool.submit(self.world.engine.ask, question(until=time.time() + seconds))
        wait_for(lambda: asked.done() or NAME in [item["metadata"]["name"] for item in self.maps()], "the question")
        return asked

    def maps(self) -> list[Object]:
        return self.world.items("configmaps")

    def map(self) -> Object:
        return self.world.api.get(self.world.path("configmaps", NAME))


@pytest.fixture
def office(idle_world: World) -> Iterator[Office]:
    made = Office(idle_world)
    yield made
    idle_world.api.delete(idle_world.path("configmaps", NAME))
    made.pool.shutdown()


@pytest.fixture
def policy(office: Office) -> Iterator[None]:
    """Have the administrator's policy, in force."""
    api = office.world.api
    rule, binding = load_yaml(MANIFESTS / "admin" / "approval-policy.yaml")
    api.create(_POLICIES, rule)
    api.create(_BINDINGS, binding)
    forged = {
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"approved": "true"},
        "metadata": {"name": "forged", "labels": {"hyperflow.dev/approval": "asked"}},
    }  # fmt: skip

    def refused() -> bool:
        try:
            api.create(office.world.path("configmaps"), forged, dryRun="All")
        except Refusal as refusal:
            return "a question is made without its answer" in refusal.message
        return False

    wait_for(refused, "the policy to be in force", 60)
    yield
    api.delete(f"{_BINDINGS}/hyperflow-approval")
    api.delete(f"{_POLICIES}/hyperflow-approval")


def said(approved: bool, engine: KubeflowEngine, why: str = "I looked") -> Answer:
    return Answer(approved, engine.person(), why, time.time())


def test_approver_answers_in_the_name_that_the_server_knows(office: Office) -> None:
    waiting, alice = office.ask(), office.person("alice")
    assert [each.run_id for each in alice.asked()] == ["run-1"]
    given = said(True, alice)
    assert given.who == f"system:serviceaccount:{office.world.namespace}:alice"
    alice.answer("run-1", given)
    assert waiting.result(20) == given
    assert alice.asked() == []


def test_rejection_and_the_end_of_time_are_refusals(office: Office) -> None:
    waiting, bob = office.ask(), office.person("bob")
    bob.answer("run-1", said(False, bob, "too many bags"))
    assert (waiting.result(20).approved, waiting.result().why) == (False, "too many bags")


def test_without_an_answer_nobody_has_approved(office: Office) -> None:
    answer = office.ask(seconds=2).result(30)
    assert (answer.approved, answer.who) == (False, "")
    alice = office.person("alice")
    with pytest.raises(Conflict, match="no longer asking"):
        alice.answer("run-1", said(True, alice))


def test_neither_others_nor_the_steps_may_answer(office: Office) -> None:
    waiting = office.ask()
    office.bind("carol", "ClusterRole", "view")
    for engine in (office.person("carol"), office.world.engine):
        with pytest.raises(Unavailable, match="may not answer") as refused:
            engine.answer("run-1", said(True, engine))
        assert "--role=hyperflow-approver" in refused.value.remedy
    assert set(office.map()["data"]) == {"question"}
    assert not waiting.done()


def test_of_two_at_once_the_first_counts_and_the_second_is_told_who_it_was(office: Office) -> None:
    waiting = office.ask()
    people = {name: office.person(name) for name in ("alice", "bob")}
    answers = {name: said(name == "alice", engine) for name, engine in people.items()}
    given = {name: office.pool.submit(people[name].answer, "run-1", answers[name]) for name in people}
    failures = {name: future.exception(30) for name, future in given.items()}
    (first,) = [name for name, failure in failures.items() if failure is None]
    (second,) = [failure for failure in failures.values() if failure is not None]
    assert isinstance(second, Conflict)
    assert answers[first].who in second.why
    assert waiting.result(20) == answers[first]


def test_policy_keeps_those_from_answering_who_may_change_configmaps(office: Office, policy: None) -> None:
    """As a Kubeflow profile's contributors and its default-editor may."""
    waiting = office.ask()
    office.bind("carol", "ClusterRole", "edit")
    carol, alice = office.person("carol"), office.person("alice")
    with pytest.raises(Unavailable, match="may not answer") as refused:
        carol.answer("run-1", said(True, carol))
    assert "only who has the Role hyperflow-approver may answer" in refused.value.why
    with pytest.raises(Unavailable, match="may not answer") as refused:
        alice.answer("run-1", said(True, carol))
    assert "an answer names who gives it" in refused.value.why
    alice.answer("run-1", said(True, alice))
    assert waiting.result(20).approved
    for change in ({"data": {"why": "other"}}, {"data": {"question": "other"}}, {"data": None}):
        with pytest.raises(Refusal, match="does not change"):
            office.world.api.patch(office.world.path("configmaps", NAME), change)
    bare = {"metadata": {"labels": {"hyperflow.dev/approval": None}}}
    with pytest.raises(Refusal, match="stays"):
        office.world.api.patch(office.world.path("configmaps", NAME), bare)
