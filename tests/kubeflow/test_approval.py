"""A model that waits for a person, on an API server that knows who may do what: the steps, approvers, and others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hyperflow import datasets
from hyperflow.engines.kubeflow import KubeflowEngine
from hyperflow.engines.kubeflow.manifests.approval import with_answer
from hyperflow.errors import Conflict, Unavailable
from hyperflow.parameters import Parameters
from hyperflow.specs import Answer, ModelRef, Question
from hyperflow.steps import Step, decide
from hyperflow.volume import approvals, paths
from tests.kubeflow.emulator import Emulator, Fault, User
from tests.kubeflow.hand import wait_for
from tests.kubeflow.roles import rights
from tests.kubeflow.store import Object
from tests.kubeflow.test_kustomize import used
from tests.kubeflow.world import NAMESPACE, engine_on, kubeconfig

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "data" / "fashion-mnist-small"
MAPS = ("", "configmaps")


@dataclass
class Office:
    """A cluster whose users have the rights that the manifests give, and a step that waits."""

    emulator: Emulator
    folder: Path
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))

    def __post_init__(self) -> None:
        self.emulator.users = {
            "first": User("system:serviceaccount:team:default-editor", rights("hyperflow-steps")),
            "alice": User("alice@example.com", rights("hyperflow-approver")),
            "bob": User("bob@example.com", rights("hyperflow-approver")),
            "carol": User("carol@example.com", frozenset({("", "configmaps", verb) for verb in ("get", "list")})),
        }

    def ask(self, **changes: Any) -> Future[Answer]:
        """Have a step ask, and return once it watches."""
        engine = engine_on(self.emulator, self.folder)
        watching = self.watches()
        asked = self.pool.submit(engine.ask, question(**changes))
        wait_for(lambda: self.watches() > watching or asked.done())
        return asked

    def watches(self) -> int:
        return sum(request.verb == "watch" for request in self.emulator.requests)

    def start(self, user: str, *words: str) -> subprocess.Popen[str]:
        place = self.folder / user
        place.mkdir(exist_ok=True)
        environment = {
            **os.environ, "KUBECONFIG": str(kubeconfig(self.emulator, place, token=user)), "COLUMNS": "300"
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "hyperflow", *words, "--namespace", NAMESPACE], cwd=self.folder, env=environment,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def call(self, user: str, *words: str) -> tuple[int, str]:
        return ended(self.start(user, *words))

    def map(self) -> Object:
        return self.emulator.store.get(MAPS, NAMESPACE, "approve-run-1")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def question(**changes: Any) -> Question:
    fields: dict[str, Any] = {
        "run_id": "run-1", "model_name": "m", "reason": "it is good", "verdict": "**deploy**: it is good",
        "against": "", "page": "/page", "asked": 1000.0, "until": time.time() + 60,
    }  # fmt: skip
    return Question(**{**fields, **changes})


@pytest.fixture
def office(emulator: Emulator, tmp_path: Path) -> Iterator[Office]:
    made = Office(emulator, tmp_path)
    yield made
    emulator.store.delete(MAPS, NAMESPACE, "approve-run-1") if exists(made) else None
    made.pool.shutdown()


def exists(office: Office) -> bool:
    return bool(office.emulator.store.select(MAPS, NAMESPACE)[0])


def test_approver_lets_the_model_through_and_stands_in_the_answer(office: Office) -> None:
    waiting = office.ask()
    code, shown = office.call("alice", "approvals")
    assert (code, "run-1 would put m live" in shown, "it is good" in shown) == (0, True, True)
    code, said = office.call("alice", "approve", "run-1", "--reason", "looks right")
    assert code == 0, said
    answer = waiting.result(10)
    assert (answer.approved, answer.who, answer.why) == (True, "alice@example.com", "looks right")
    assert "nothing waits" in office.call("alice", "approvals")[1]


def test_approver_has_the_rights_that_are_used_and_no_others(office: Office) -> None:
    waiting = office.ask()
    before = len(office.emulator.requests)
    office.call("alice", "approvals")
    office.call("alice", "approve", "run-1")
    waiting.result(10)
    asked = [request for request in office.emulator.requests[before:] if request.verb not in ("watch",)]
    office.emulator.requests = asked
    whoever = {("authentication.k8s.io", "selfsubjectreviews", "create")}
    policys = {("hyperflow.dev", "approvals", "answer")}
    assert used(office.emulator) - whoever == rights("hyperflow-approver") - policys


def test_rejection_comes_with_its_reason(office: Office) -> None:
    waiting = office.ask()
    code, said = office.call("bob", "reject", "run-1", "--reason", "too many bags")
    assert code == 0, said
    answer = waiting.result(10)
    assert (answer.approved, answer.who, answer.why) == (False, "bob@example.com", "too many bags")


def test_person_without_the_right_is_refused_and_told_how_to_get_it(office: Office) -> None:
    waiting = office.ask()
    code, said = office.call("carol", "approve", "run-1")
    assert code == 1
    assert "carol@example.com may not answer in the namespace team" in said
    assert "--role=hyperflow-approver --user=carol@example.com" in said
    assert set(office.map()["data"]) == {"question"}
    assert not waiting.done()


def test_steps_own_account_may_not_answer(office: Office) -> None:
    waiting = office.ask()
    code, said = office.call("first", "approve", "run-1")
    assert code == 1
    assert "default-editor may not answer" in said
    assert not waiting.done()


def test_of_two_at_once_the_first_counts_and_the_second_is_told_who_it_was(office: Office) -> None:
    office.emulator.latency = 0.2  # both have read the question before either answers
    waiting = office.ask()
    people = {
        "alice": office.start("alice", "approve", "run-1"),
        "bob": office.start("bob", "reject", "run-1", "--reason", "no"),
    }
    codes = {name: ended(process) for name, process in people.items()}
    assert sorted(code for code, _ in codes.values()) == [0, 1]
    first, second = sorted(codes, key=lambda name: codes[name][0])
    assert f"by {first}@example.com" in codes[second][1]
    assert waiting.result(10).who == f"{first}@example.com"


def test_answer_given_over_a_stale_reading_does_not_take_the_first_ones_place(office: Office) -> None:
    waiting = office.ask()
    engine = engine_on(office.emulator, office.folder)
    office.emulator.users = {}
    first = Answer(True, "alice", "", 5.0)

    def overtake(request: Any) -> bool:
        if request.method == "PUT" and "approved" not in office.map()["data"]:
            office.emulator.store.replace(MAPS, NAMESPACE, with_answer(office.map(), first))
        return False

    office.emulator.faults = [Fault(500, overtake)]
    with pytest.raises(Conflict, match="has its answer") as refused:
        engine.answer("run-1", Answer(False, "bob", "no", 6.0))
    assert "approved by alice" in refused.value.why
    assert waiting.result(10).who == "alice"


def test_answer_whose_confirmation_was_lost_is_no_second_one(office: Office) -> None:
    office.emulator.users = {}
    waiting = office.ask()
    engine = engine_on(office.emulator, office.folder)
    given = Answer(True, "alice", "", 5.0)
    engine.answer("run-1", given)
    engine.answer("run-1", given)
    assert waiting.result(10) == given


def test_without_an_answer_nobody_has_approved(office: Office) -> None:
    until = time.time() + 1
    answer = office.ask(until=until).result(20)
    assert (answer.approved, answer.who) == (False, "")
    assert "nobody approved it by" in answer.why
    assert time.time() >= until
    code, said = office.call("alice", "approve", "run-1")
    assert (code, "is no longer asking" in said) == (1, True)


def test_who_waits_watches_and_does_not_ask_again(office: Office) -> None:
    waiting = office.ask()
    before = len(office.emulator.requests)
    time.sleep(1.5)
    assert office.emulator.requests[before:] == []
    office.emulator.drop_connections()
    office.call("alice", "approve", "run-1")
    assert waiting.result(10).approved


def test_step_that_is_run_again_takes_up_its_question_with_its_time(office: Office) -> None:
    first, asked = office.ask(), approvals.asked("run-1")
    again = office.ask(until=time.time() + 999)
    assert approvals.asked("run-1") == asked
    office.call("alice", "approve", "run-1")
    assert first.result(10) == again.result(10)
    assert office.ask(until=time.time() + 999).result(10) == first.result()


def test_question_is_its_runs_and_goes_with_its_workflow(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    workflows, store = ("argoproj.io", "workflows"), office.emulator.store
    workflow = store.create(workflows, NAMESPACE, {"metadata": {"name": "flow"}})
    uid = workflow["metadata"]["uid"]
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "flow", "uid": uid}
    store.create(("", "pods"), NAMESPACE, {"metadata": {"name": "step", "ownerReferences": [owner]}})
    monkeypatch.setenv("KFP_POD_NAME", "step")
    waiting = office.ask()
    assert office.map()["metadata"]["ownerReferences"] == [owner]
    assert set(office.map()["data"]) == {"question"}
    store.delete(workflows, NAMESPACE, "flow")
    with pytest.raises(Unavailable, match="in which this run asks for approval, is gone"):
        waiting.result(10)


def test_question_that_somebody_else_has_made_is_not_taken_up(office: Office) -> None:
    made = {"metadata": {"name": "approve-run-1"}, "data": {"question": "{}"}}
    office.emulator.store.create(MAPS, NAMESPACE, with_answer(made, Answer(True, "mallory")))
    with pytest.raises(Conflict, match="approve-run-1 is in the way"):
        office.ask().result(10)


def test_nothing_is_answered_where_nothing_was_asked(office: Office) -> None:
    code, said = office.call("alice", "approve", "run-9")
    assert code == 1
    assert "run run-9 asks nobody in the namespace team" in said


def test_server_that_does_not_tell_who_asks_leaves_the_kubeconfigs_name(office: Office) -> None:
    del office.emulator.kinds["authentication.k8s.io/v1"]
    assert engine_on(office.emulator, office.folder).person() == "step"


def test_step_decides_what_the_person_has_said(
    office: Office, operators: None, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERFLOW_ENGINE", "kubeflow")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(office.emulator, office.folder)))
    office.emulator.users = {}
    dataset = datasets.load(str(SMALL), "small")
    values = {"model_name": "m", "approval": "required", "accuracy_floor": 0.5}
    candidate = ModelRef("/models/m/run-1", "run-1", 0.9, dataset.digest)
    step = Step("decide", "run-1")
    deciding = office.pool.submit(decide.run, step, Parameters.complete(values), candidate, dataset.path)
    wait_for(lambda: office.watches() or deciding.done())
    KubeflowEngine().answer("run-1", Answer(False, "alice", "bags are read as shirts", time.time()))
    decision, verdict = deciding.result(20)
    assert not decision.deploy
    assert decision.reason.startswith("rejected by alice on 20")
    assert "although its accuracy of 0.9000 reaches the floor" in decision.reason
    assert "**skip**: rejected by alice" in verdict
    assert not paths.approval_answer("run-1").exists()
