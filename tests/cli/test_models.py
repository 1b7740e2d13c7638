"""Serving a model by hand and asking it: with the data it was made from, whatever that is called."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hyperflow.datasets.idx import read_idx, write_idx
from hyperflow.serving.payloads import REQUEST, Event, Folder
from tests.runner.laptop import SMALL, Laptop

FIVE = ("dataset=five", "model_name=five", "max_trials=1", "epochs=2")


def five_classes(folder: Path) -> Path:
    """Make a data set of the first five classes of the small one."""
    folder.mkdir()
    for part in ("train", "t10k"):
        images, labels = (read_idx(SMALL / f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
        kept = np.flatnonzero(labels < 5)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images[kept])
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels[kept])
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    folder = tmp_path_factory.mktemp("of five")
    laptop = Laptop(folder / "a volume")
    source = five_classes(folder / "five")
    code, output = laptop.call("run", "--run-id", "one", "--keep-serving", values=[*FIVE, f"data_source={source}"])
    assert code == 0, output
    yield laptop
    laptop.call("stop")
    for left in laptop.processes():
        left.kill()


def test_model_is_asked_about_the_data_it_was_made_from(served: Laptop) -> None:
    for words in ((), ("--dataset", "five")):
        code, output = served.call("predict", "five", "--instances", "20", *words)
        assert code == 0, output
        assert " of 20" in output
    code, output = served.call("predict", "five", "--dataset", "fashion-mnist")
    assert code == 2
    assert "'--dataset' cannot be 'fashion-mnist'" in output
    assert "give five, which the model was made from" in output


@pytest.mark.parametrize("inverted", [False, True])
def test_pictures_that_users_sent_are_compared_with_the_data(served: Laptop, tmp_path: Path, inverted: bool) -> None:
    images = read_idx(SMALL / "t10k-images-idx3-ubyte.gz")[read_idx(SMALL / "t10k-labels-idx1-ubyte.gz") < 5]
    sent = (255 - images if inverted else images).tolist()
    body = json.dumps({"instances": sent}).encode()
    assert Folder(tmp_path, 2**26).write(Event({"id": "1", "type": REQUEST}, "application/json", body))
    code, output = served.again("drift", str(tmp_path), "--dataset", "five", "--most", "0.3")
    assert f"{len(sent)} pictures: statistic " in output
    assert code == int(inverted), output
    if inverted:
        assert "error: what users send is not what five has" in output


def test_nothing_is_said_of_too_few_pictures_or_of_unknown_data(served: Laptop, tmp_path: Path) -> None:
    code, output = served.again("drift", str(tmp_path), "--dataset", "five")
    assert (code, "0 pictures are too few" in output) == (1, True), output
    code, output = served.again("drift", str(tmp_path))
    assert (code, "the volume has no data set 'fashion-mnist'" in output) == (1, True), output


def test_answers_about_other_classes_are_refused(served: Laptop) -> None:
    url = served.summary("one")["endpoint"].split("/v1")[0]
    words = ("--url", url, "--dataset", "small", "--source", str(SMALL))
    code, output = served.call("predict", "five", *words)
    assert code == 1
    assert "answers with 5 probabilities, and small has 10 classes" in output


def test_low_accuracy_is_not_blamed_on_pixels_where_the_trainer_saw_the_same(served: Laptop) -> None:
    code, output = served.call("predict", "five", "--accuracy-floor", "1")
    assert code == 1
    assert "of its trainer's test" in output
    assert "scaling" not in output


def test_finished_run_given_again_changes_nothing_and_says_so(served: Laptop) -> None:
    before = {path: path.stat().st_mtime_ns for path in (served.volume / "runs" / "one").rglob("*")}
    code, output = served.again("run", "--run-id", "one")
    assert code == 0, output
    assert "Run one has ended already; nothing was changed." in output
    assert f"hyperflow serve {shlex.quote(served.summary('one')['model_path'])}" in output
    assert {path: path.stat().st_mtime_ns for path in (served.volume / "runs" / "one").rglob("*")} == before


def test_foreground_says_where_it_answers_and_how_to_ask_it(served: Laptop) -> None:
    model = served.summary("one")["model_path"]
    process = served.start("serve", model, "--port", "0", "--name", "five")
    assert process.stdout is not None
    said = ""
    while "curl" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    command = shlex.split(said[said.index("curl") :].splitlines()[0])
    assert command[:1] == ["curl"]
    answer = subprocess.run([*command, "-s"], capture_output=True, text=True, timeout=30, check=True).stdout
    assert len(json.loads(answer)["predictions"][0]) == 5
    assert not re.search(r"oneDNN|cpu_feature_guard|rebuild TensorFlow", said)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=40)
    assert process.returncode == 0
