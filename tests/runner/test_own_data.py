"""A run on a folder of colour pictures: the built-in trainer, to a served model that is asked for an answer."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.datasets.own import COLOURS, folder_of_pictures
from tests.runner.laptop import Laptop

pytestmark = pytest.mark.long

RUN = (
    "dataset=shapes", "model_name=shapes", "max_trials=2", "parallel_trials=2", "epochs=12",
    'trainer_arguments={"model": "cnn", "batch_size": 16}', "trial_arguments={}",
    'search_space={"learning_rate": {"type": "double", "min": 0.001, "max": 0.005}}',
    "accuracy_floor=0.6", "smoke_accuracy_floor=0.6", "smoke_instances=25",
)  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Laptop, Path, str]]:
    root = tmp_path_factory.mktemp("own")
    pictures = folder_of_pictures(root / "pictures", train=40, test=12)
    made = Laptop(root / "volume")
    code, output = made.call("run", "--run-id", "own", "--keep-serving", values=(*RUN, f"data_source={pictures}"))
    assert code == 0, output
    yield made, pictures, output
    made.call("stop")
    for left in made.processes():
        left.kill()


def ask(endpoint: str, image: Any) -> list[float]:
    body = json.dumps({"instances": [{"flatten_input": image}]}).encode()
    with urllib.request.urlopen(endpoint, body, timeout=30) as answer:
        probabilities: list[float] = json.load(answer)["predictions"][0]
    return probabilities


def test_the_served_model_reads_pictures_of_the_folder(done: tuple[Laptop, Path, str]) -> None:
    laptop, pictures, _ = done
    summary = laptop.summary("own")
    assert summary["smoke"]["accuracy"] >= 0.6
    classes = sorted(COLOURS)
    right = 0
    for name in classes:
        image = np.asarray(Image.open(pictures / "test" / name / "000.jpg"))
        answers = [ask(summary["endpoint"], sent) for sent in (image.tolist(), image.reshape(-1).tolist())]
        assert answers[0] == pytest.approx(answers[1], abs=1e-5), "nested and flat are one picture"
        assert len(answers[0]) == len(classes)
        right += classes[int(np.argmax(answers[0]))] == name
    assert right >= 3, "by chance one of five"


def test_the_model_has_an_onnx_copy_that_answers_the_same(done: tuple[Laptop, Path, str]) -> None:
    model = Path(done[0].summary("own")["model_path"]) / "1" / "assets.extra"
    told = json.loads((model / "evaluation.json").read_text())
    assert told["onnx"]["instances"] == 60
    assert told["classes"] == sorted(COLOURS)
    assert (model / "model.onnx").exists()


def test_the_report_names_the_classes_and_shows_the_pictures(done: tuple[Laptop, Path, str]) -> None:
    report = Path(done[0].summary("own")["report"]).read_text()
    assert all(f">{name}<" in report for name in COLOURS)
    assert "200 + 60 images" in report


def test_predict_asks_with_the_models_own_data(done: tuple[Laptop, Path, str]) -> None:
    code, output = done[0].call("predict", "shapes", "--instances", "10", "--report", str(done[1] / "answers.html"))
    assert code == 0, output
    assert any(name in output for name in COLOURS)
    assert "data:image/png;base64," in (done[1] / "answers.html").read_text()
