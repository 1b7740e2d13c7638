"""Pictures that a real predictor has logged, labelled and learnt from: what is picked, joined and refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hyperflow import datasets, volume
from hyperflow.errors import Conflict, DataError, HyperflowError, InvalidParameter
from hyperflow.evaluation import labels
from tests.runner.laptop import SMALL
from tests.serving import models
from tests.serving.predictor import NAME, Predictor


@dataclass(frozen=True)
class World:
    """A data set, and what a predictor logged of its test images turned into negatives; each row is what was sent."""

    dataset: datasets.Dataset
    log: Path
    sent: Mapping[tuple[str, int], NDArray[Any]]
    answers: Mapping[tuple[str, int], NDArray[Any]]
    true: Mapping[tuple[str, int], str]

    def write(self, file: Path, rows: list[dict[str, Any]]) -> Path:
        with file.open("w", encoding="utf-8", newline="") as text:
            table = csv.DictWriter(text, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        return file

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Label the first pictures as a person would."""
        return [{"id": key[0], "index": key[1], "label": self.true[key]} for key in list(self.sent)[:count]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("labels")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(volume.ENVIRONMENT, str(root / "volume"))
        dataset = datasets.load(str(SMALL), "small")
        images, classes = dataset.images("test"), dataset.labels("test")
        model = models.Linear(dataset.images("train"), dataset.labels("train").astype(int), 4)
        folder, log = models.save(model, root / "model", onnx_copy=True), root / "payloads"
        running = Predictor(root, folder, "--enable_grpc=false", f"--log_payloads={log}")
        sent, answers, true = {}, {}, {}

        def ask(name: str, pixels: NDArray[Any]) -> list[list[float]]:
            body = {"instances": [{"flatten_input": each.reshape(-1).tolist()} for each in pixels]}
            url = f"{running.url}/v1/models/{NAME}:predict"
            reply = httpx.post(url, json=body, headers={"ce-id": name}).raise_for_status()
            rows: list[list[float]] = reply.json()["predictions"]
            return rows

        try:
            for number in range(40):
                chosen = slice(3 * number, 3 * number + 3)
                rows = ask(f"request-{number}", 255 - images[chosen])
                for place in range(3):
                    key = (f"request-{number}", place)
                    sent[key], answers[key] = 255 - images[chosen][place], np.array(rows[place])
                    true[key] = dataset.classes[int(classes[chosen][place])]
            ask("known", images[:5])
            ask("=formula", 254 - images[:1])
            for _ in range(2):
                ask("twice", 253 - images[:1])
        finally:
            assert running.stop() == 0, running.log
        yield World(dataset, log, sent, answers, true)


def test_the_least_sure_are_picked_with_the_models_answers(world: World, tmp_path: Path) -> None:
    out = tmp_path / "to label"
    assert labels.pick(world.log, out, world.dataset, 50) == 50
    assert out.stat().st_mode & 0o777 == 0o700
    with (out / labels.LABELS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    sure = {key: row.max() for key, row in world.answers.items()}
    assert len(sure) == 120  # nothing that is known, there twice or a formula
    assert [float(row["confidence"]) for row in rows] == pytest.approx(sorted(sure.values())[:50], abs=1e-4)
    for row in rows:
        key = row["id"], int(row["index"])
        assert row["label"] == world.dataset.classes[int(world.answers[key].argmax())]
        assert (np.asarray(Image.open(out / row["picture"])) == world.sent[key]).all()
    assert sorted(path.name for path in out.iterdir()) == [labels.LABELS, labels.PICTURES]
    with pytest.raises(Conflict, match="to label is in the way"):
        labels.pick(world.log, out, world.dataset, 50)
    assert list(tmp_path.iterdir()) == [out]


def test_labelled_pictures_join_the_data_set_that_they_are_new_to(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path / "volume"))
    rows = world.rows(60)
    rows[7]["label"] = ""
    file, out = world.write(tmp_path / "labels.csv", rows), tmp_path / "mine.npz"
    made = labels.collect(world.log, file, out, world.dataset)
    assert (made.train + made.test, made.known, made.skipped) == (59, 0, 1)
    assert 0 < made.test < made.train
    mine = datasets.load(str(out), "mine")
    assert mine.classes == world.dataset.classes
    assert mine.train_count == world.dataset.train_count + made.train
    assert mine.test_count == world.dataset.test_count + made.test
    told = {
        image.tobytes(): mine.classes[label]
        for split in ("train", "test")
        for image, label in zip(mine.images(split), mine.labels(split), strict=True)  # type: ignore[arg-type]
    }
    assert all(told[world.sent[row["id"], row["index"]].tobytes()] == row["label"] for row in rows if row["label"])

    more = world.write(tmp_path / "more.csv", world.rows(80))
    grown = labels.collect(world.log, more, tmp_path / "grown.npz", mine)
    assert (grown.train + grown.test, grown.known) == (21, 59)
    whole = labels.collect(world.log, more, tmp_path / "whole.npz", world.dataset)
    assert (whole.train, whole.test) == (made.train + grown.train, made.test + grown.test)  # none has changed its part
    with pytest.raises(DataError, match="adds no picture"):
        labels.collect(world.log, file, tmp_path / "none.npz", mine)
    assert not (tmp_path / "none.npz").exists()


def test_labelled_pictures_are_a_data_set_alone(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path / "volume"))
    file, out = world.write(tmp_path / "labels.csv", world.rows(120)), tmp_path / "alone.npz"
    made = labels.collect(world.log, file, out, world.dataset, alone=True)
    assert (made.train, made.test) == (120, 0)
    alone = datasets.load(str(out), "alone")
    assert alone.train_count + alone.test_count == 120
    assert set(alone.classes) == set(world.true.values())


def _one(**changes: Any) -> dict[str, Any]:
    return {"id": "request-1", "index": 0, "label": "4", **changes}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([_one(label="Hat")], "line 2: 'Hat' is no class of small"),
        ([_one(id="nobody")], "line 2: the log has no picture 0 of a request nobody"),
        ([_one(id="twice")], "line 2: the log has no picture"),
        ([_one(index=3)], "line 2: the log has no picture 3 of a request request-1"),
        ([_one(index="-1")], "line 2: '-1' is no index"),
        ([_one(index="")], "line 2: request request-1 has several pictures"),
        ([_one(), _one(label="8")], "line 3: the picture of line 2 once more"),
        ([_one(id="known"), _one(id="known", index="0 ")], "line 3: the picture of line 2 once more"),
        ([{"picture": "1.png", "label": "4"}], "has no column id"),
        ([_one(label="")], "adds no picture"),
        ([_one(id="known")], "adds no picture"),
    ],
)
def test_what_cannot_be_is_refused_by_line(world: World, tmp_path: Path, rows: Any, says: str) -> None:
    out = tmp_path / "mine.npz"
    with pytest.raises(DataError) as refused:
        labels.collect(world.log, world.write(tmp_path / "labels.csv", rows), out, world.dataset)
    assert says in refused.value.what
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b""])
def test_a_table_that_is_none_is_refused(world: World, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.csv (cannot be read|has no column)"):
        labels.collect(world.log, tmp_path / "labels.csv", tmp_path / "mine.npz", world.dataset)


def test_nothing_is_written_over(world: World, tmp_path: Path) -> None:
    file = world.write(tmp_path / "labels.csv", world.rows(3))
    (tmp_path / "mine.npz").write_bytes(b"precious")
    for name, error in (("mine.npz", Conflict), ("mine.zip", InvalidParameter)):
        with pytest.raises(error):
            labels.collect(world.log, file, tmp_path / name, world.dataset)
    assert (tmp_path / "mine.npz").read_bytes() == b"precious"


def test_a_log_of_another_model_has_nothing_to_label(world: World, tmp_path: Path) -> None:
    content = io.BytesIO()
    pixels, marks = np.zeros((4, 9, 9), np.uint8), np.arange(4) % 2
    np.savez(content, x_train=pixels, y_train=marks, x_test=pixels, y_test=marks)
    (tmp_path / "other.npz").write_bytes(content.getvalue())
    other = datasets.load(str(tmp_path / "other.npz"), "other")
    with pytest.raises(HyperflowError, match="there is no picture to be labelled") as refused:
        labels.pick(world.log, tmp_path / "out", other, 9)
    assert "9×9×1 numbers" in refused.value.why
