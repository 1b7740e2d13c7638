"""A model that the gate lets through waits for a person: real processes, one that waits and those that answer."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hyperflow import datasets, volume
from hyperflow.errors import Conflict, InvalidParameter
from hyperflow.parameters import TABLE
from hyperflow.runner.output import Listener, Output
from hyperflow.specs import Answer, Question
from hyperflow.volume import approvals, cards, lease, paths, records, runs
from pipelines import settings

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "data" / "fashion-mnist-small"
DECIDE = """
import sys
from hyperflow.parameters import Parameters
from hyperflow.specs import ModelRef
from hyperflow.steps import begin, decide
path, digest, model, timeout = sys.argv[1:]
values = {"model_name": "m", "approval": "required", "approval_timeout": int(timeout), "accuracy_floor": 0.5}
with begin("decide", "run-1") as step:
    decision, text = decide.run(step, Parameters.complete(values), ModelRef(model, "run-1", 0.9, digest), path)
print("decided", decision.deploy, decision.reason)
"""


class Desk:
    """A volume with a trained model, the step that judges it, and people who answer."""

    def __init__(self, root: Path) -> None:
        self.root, self.started = root, list[subprocess.Popen[str]]()
        self.dataset = datasets.load(str(SMALL), "small")
        self.model = volume.model_path("m", "run-1")
        (self.model / "1").mkdir(parents=True)
        cards.write("m", cards.Card("run-1", self.dataset.digest, "code", {}, 0.9))

    def decide(self, timeout: int = 60) -> subprocess.Popen[str]:
        """Start the step in a process of its own, and return once it waits."""
        words = [self.dataset.path, self.dataset.digest, str(self.model), str(timeout)]
        process = self._start([sys.executable, "-c", DECIDE, *map(str, words)])
        wait_for(lambda: paths.approval_bell("run-1").exists() or process.poll() is not None)
        return process

    def person(self, *words: str) -> subprocess.Popen[str]:
        return self._start([sys.executable, "-m", "hyperflow", *words, "--folder", str(self.root)])

    def call(self, *words: str) -> tuple[int, str]:
        return ended(self.person(*words))

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        environment = {**os.environ, "HYPERFLOW_ENGINE": "local", "COLUMNS": "300"}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.started.append(process)
        return process

    def decided(self) -> records.Decide:
        found = records.read("run-1", records.Decide)
        assert found
        return found

    def card(self) -> cards.Card:
        found = cards.read(self.model)
        assert found
        return found


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    made = Desk(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def question(**changes: Any) -> Question:
    fields: dict[str, Any] = {
        "run_id": "run-1", "model_name": "m", "reason": "it is good", "verdict": "**deploy**", "against": "",
        "page": "/page", "asked": time.time(), "until": time.time() + 60,
    }  # fmt: skip
    return Question(**{**fields, **changes})


def test_approved_model_is_deployed_and_who_when_and_why_is_remembered(desk: Desk) -> None:
    waiting = desk.decide()
    lease.hold("m", "another", 1)  # while a person thinks, the service is other runs'
    lease.release("m", "another")
    code, shown = desk.call("approvals")
    assert code == 0
    assert "run-1 would put m live" in shown
    assert "reaches the floor of 0.5000" in shown
    assert "May run run-1 go live?" in paths.approval_page("run-1").read_text()
    code, said = desk.call("approve", "run-1", "--reason", "the shirts look right")
    assert code == 0, said
    code, output = ended(waiting)
    assert code == 0, output
    assert "decided True" in output
    answer = desk.decided().approval
    assert answer
    assert (answer.approved, answer.who, answer.why) == (True, getpass.getuser(), "the shirts look right")
    assert abs(answer.at - time.time()) < 60
    assert desk.decided().deploy
    assert f"approved by {getpass.getuser()} on 20" in desk.card().reason
    assert desk.card().approval == {"approved": True, "who": answer.who, "why": answer.why, "at": answer.at}
    with pytest.raises(Conflict, match="run run-1 is deploying m"):
        lease.hold("m", "another", 1)
    assert not paths.approval_bell("run-1").exists()


def test_what_to_type_is_told_to_who_runs_it(desk: Desk) -> None:
    waiting = desk.decide()
    desk.call("approve", "run-1")
    heard: list[str] = []
    ignored = Listener(lambda _: None, lambda _: None, heard.append)
    with Output(desk.root / "log.txt", ignored) as output:
        output.write(ended(waiting)[1])
    assert any(line.startswith("m of run run-1 waits for approval until 20") for line in heard)
    assert f"hyperflow approve run-1 --folder {desk.root}" in heard
    assert f"hyperflow reject run-1 --folder {desk.root} --reason TEXT" in heard
    assert any(str(paths.approval_page("run-1")) in line for line in heard)


def test_rejected_model_is_refused_as_one_that_the_gate_refuses(desk: Desk) -> None:
    waiting = desk.decide()
    code, said = desk.call("reject", "run-1", "--reason", "bags are read as shirts")
    assert code == 0, said
    code, output = ended(waiting)
    assert code == 0, output
    assert "decided False rejected by" in output
    assert "bags are read as shirts" in desk.decided().reason
    assert (desk.decided().deploy, desk.card().deploy) == (False, False)
    lease.hold("m", "another", 1)


def test_rejection_wants_a_reason(desk: Desk) -> None:
    desk.decide()
    code, said = desk.call("reject", "run-1", "--reason", " ")
    assert code == 2
    assert "--reason" in said
    assert approvals.answered("run-1") is None


def test_without_an_answer_the_model_is_refused_when_the_time_is_over(desk: Desk) -> None:
    begun = time.time()
    code, output = ended(desk.decide(timeout=1))
    assert code == 0, output
    assert time.time() - begun >= 1
    assert "decided False nobody approved it by" in output
    answer = desk.decided().approval
    assert answer
    assert (answer.approved, answer.who) == (False, "")
    code, said = desk.call("approve", "run-1")
    assert code == 1
    assert "is no longer asking" in said
    assert approvals.answered("run-1") is None


def test_of_two_at_once_the_first_counts_and_the_second_is_told_who_it_was(desk: Desk) -> None:
    waiting = desk.decide()
    people = [desk.person("approve", "run-1"), desk.person("reject", "run-1", "--reason", "no")]
    codes = [ended(person) for person in people]
    assert sorted(code for code, _ in codes) == [0, 1]
    (refusal,) = [said for code, said in codes if code == 1]
    assert "run run-1 has its answer" in refusal
    assert f"by {getpass.getuser()}" in refusal
    approved = codes[0][0] == 0
    assert f"decided {approved}" in ended(waiting)[1]


def test_killed_step_takes_up_its_question_and_its_time_and_the_answer_that_came_meanwhile(desk: Desk) -> None:
    killed = desk.decide()
    asked = approvals.asked("run-1")
    killed.kill()
    killed.communicate()
    code, said = desk.call("approve", "run-1")
    assert code == 0, said
    again = desk.decide(timeout=3600)
    assert "decided True" in ended(again)[1]
    assert approvals.asked("run-1") == asked


def test_killed_step_waits_no_longer_than_the_first_would_have(desk: Desk) -> None:
    killed = desk.decide(timeout=2)
    killed.kill()
    killed.communicate()
    code, output = ended(desk.decide(timeout=3600))
    assert code == 0, output
    assert "decided False nobody" in output


def test_step_whose_run_was_killed_does_not_wait_on(desk: Desk) -> None:
    waiting = desk.decide(timeout=3600)
    assert waiting.stdout
    waiting.stdout.close()
    assert waiting.wait(10) != 0
    assert not paths.approval_bell("run-1").exists()


def test_run_that_asks_nothing_cannot_be_answered(desk: Desk) -> None:
    code, said = desk.call("approve", "run-2")
    assert code == 1
    assert "run run-2 asks nobody" in said
    assert "nothing waits for approval" in desk.call("approvals")[1]


def test_question_about_another_comparison_is_not_taken_up(desk: Desk) -> None:
    approvals.ask(question())
    with pytest.raises(Conflict, match="run other serves m since this run asked for approval"):
        approvals.ask(question(against="other"))


def test_run_that_waits_is_at_work_however_long_it_is_silent(desk: Desk) -> None:
    approvals.ask(question())
    assert runs.may_run("run-1", longest=0)
    paths.approval_question("run-1").unlink()
    approvals.ask(question(until=time.time() - 1))
    assert not runs.may_run("run-1", longest=0)


def test_answer_is_whole_and_read_back_as_it_was(desk: Desk) -> None:
    given = Answer(True, "ärztin", "weil", 12.5)
    assert approvals.answer("run-1", given)
    assert not approvals.answer("run-1", Answer(False, "b", "no"))
    assert approvals.answered("run-1") == given
    assert json.loads(paths.approval_answer("run-1").read_text())["who"] == "ärztin"
    assert list(paths.approval("run-1").glob(".*")) == []


def test_nobody_is_asked_for_more_time_than_the_step_has() -> None:
    rule = TABLE["approval_timeout"].rule
    rule("approval_timeout", settings.WEEK)
    for value in (0, settings.WEEK + 1, 1.5, "60"):
        with pytest.raises(InvalidParameter, match="approval_timeout"):
            rule("approval_timeout", value)
    with pytest.raises(InvalidParameter, match="none or required"):
        TABLE["approval"].rule("approval", "maybe")
