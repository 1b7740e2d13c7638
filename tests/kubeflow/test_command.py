"""Command lines survive Katib, kubelet and shell: each is really run by `sh`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperflow.engines.kubeflow.manifests import command, experiment, tfjob
from hyperflow.errors import InvalidParameter
from hyperflow.specs import Dimension, Trainer
from tests.kubeflow.katib import substituted
from tests.kubeflow.kubelet import expand
from tests.kubeflow.specs import DATA, training, tuning

ECHO = (sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))")
NASTY = ["a b", "it's", 'say "hi"', "$HOME", "$(HOME)", "$$", "${x}", "a;b", "a&&b", "`id`", "*", "\\n", "~", "a\\"]


def run_trial(trainer: Trainer, space: tuple[Dimension, ...], values: dict[str, str]) -> list[str]:
    """Do to a trial what Katib and the kubelet do, and return the argv that arrives."""
    template = experiment(tuning(trainer=trainer, search_space=space))["spec"]["trialTemplate"]
    container = substituted(template, values)["spec"]["template"]["spec"]["containers"][0]
    return arrived(container["command"])


def arrived(command: list[str]) -> list[str]:
    """Start a container's command as the kubelet does, and return the argv that the program sees."""
    words = [expand(word, {"HOME": "/tmp", "x": "y"}) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
    argv: list[str] = json.loads(done.stdout)
    return argv


@pytest.mark.parametrize("text", NASTY)
def test_trial_gets_its_arguments_unchanged(text: str) -> None:
    trainer = Trainer((*ECHO, text), {"note": text}, "image")
    space = (Dimension("x", "double", 0, 1), Dimension("kind", "categorical", values=("a b;c", "d*")))
    argv = run_trial(trainer, space, {"x": "0.25", "kind": "a b;c"})
    assert argv == [text, f"--data-path={DATA}", "--epochs=1", f"--note={text}", "--x=0.25", "--kind=a b;c"]


@pytest.mark.parametrize("text", NASTY)
def test_worker_of_a_trial_gets_what_its_chief_gets(text: str) -> None:
    """Katib wraps the chief's words for a shell and leaves the worker's alone."""
    space = (Dimension("x", "double", 0, 1), Dimension("kind", "categorical", values=("a b;c", "d*")))
    spec = tuning(trainer=Trainer((*ECHO, text), {"note": text}, "image"), search_space=space, workers=2)
    job = substituted(experiment(spec)["spec"]["trialTemplate"], {"x": "0.25", "kind": "a b;c"})
    replicas = job["spec"]["tfReplicaSpecs"]
    containers = [replicas[kind]["template"]["spec"]["containers"][0] for kind in ("Chief", "Worker")]
    chief, worker = (arrived(container["command"]) for container in containers)
    assert worker == chief == [text, f"--data-path={DATA}", "--epochs=1", f"--note={text}", "--x=0.25", "--kind=a b;c"]


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).filter(lambda text: "${trial" not in text))
def test_any_printable_word_survives(text: str) -> None:
    argv = run_trial(Trainer((*ECHO, text), {}, "image"), (Dimension("x", "double", 0, 1),), {"x": "1"})
    assert argv[0] == text


@pytest.mark.parametrize("text", NASTY)
def test_training_gets_its_arguments_unchanged(text: str) -> None:
    job = tfjob(training(trainer=Trainer((*ECHO, text), {"note": text}, "image")))
    words = job["spec"]["tfReplicaSpecs"]["Chief"]["template"]["spec"]["containers"][0]["command"]
    argv = [expand(word, {"HOME": "/tmp"}) for word in words]
    assert argv[3] == text
    assert f"--note={text}" in argv


@pytest.mark.parametrize(
    ("word", "expanded"),
    [("$(HOME)", "/tmp"), ("$$(HOME)", "$(HOME)"), ("$(A$$B)", "$(A$$B)"), ("$(NO)$$", "$(NO)$"), ("$(a", "$(a")],
)
def test_kubelet_stand_in_expands_as_the_real_one(word: str, expanded: str) -> None:
    assert expand(word, {"HOME": "/tmp"}) == expanded


@pytest.mark.parametrize("text", ["two\nlines", "tab\there", "${trialParameters.y}", "${trialSpec.Name}"])
def test_what_cannot_pass_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="trainer_command"):
        command.trial(Trainer(("train",), {"note": text}), DATA, [Dimension("x", "double", 0, 1)], 1)


@pytest.mark.parametrize("text", ["it's", 'a"b', "a\\b", "a$b"])
def test_choice_that_katib_would_break_is_refused(text: str) -> None:
    space = [Dimension("kind", "categorical", values=("a", text))]
    with pytest.raises(InvalidParameter, match="kind"):
        command.trial(Trainer(("train",)), DATA, space, 1)
