"""Explanations: what occlusion says of models whose reasons are known, and how requests for them are bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from hyperflow.serving.explain import WINDOWS, Explainer, windows
from hyperflow.serving.tensors import RequestError, TensorSpec
from tests.serving import models
from tests.serving.predictor import NAME, Predictor

EXPLAIN = f"/v1/models/{NAME}:explain"


def spec(*shape: int, name: str = "x") -> TensorSpec:
    return TensorSpec(name, np.dtype(np.float32), shape)


class Corner:
    """Answers class 1 with as much as the upper left pixel has; the other pixels are nothing to it."""

    version, platform = "1", "numpy"

    def __init__(self) -> None:
        self.inputs, self.outputs, self.rows = {"x": spec(784)}, {"y": spec(2, name="y")}, [0]

    def run(self, tensors: Any) -> dict[str, Any]:
        self.rows.append(len(tensors["x"]))
        corner = tensors["x"][:, 0]
        return {"y": np.stack([1 - corner, corner], 1)}


@pytest.mark.parametrize("batch_rows", [1, 16, 256])
def test_what_the_answer_rests_on_is_found(batch_rows: int) -> None:
    model, instance = Corner(), np.full((1, 784), 0.9, np.float32)

    async def ask(tensors: Any, rows: int) -> Any:
        return model.run(tensors)

    [found] = asyncio.run(Explainer(model, "y").explain({"x": instance}, batch_rows, ask))
    image = found.image.reshape(28, 28)
    assert (found.predicted, round(found.score, 4)) == (1, 0.9)
    assert image[:4, :4] == pytest.approx(0.9)
    assert image[4:].any() == image[:, 4:].any() == False  # noqa: E712 - nothing else matters to it
    assert sum(model.rows) == WINDOWS + 1
    assert max(model.rows) <= batch_rows


@pytest.mark.parametrize("shape", [(), (1,), (10,), (784,), (5000,), (28, 28), (28, 28, 3), (1, 400), (3, 5, 7, 2)])
def test_windows_cover_each_number_once_and_are_few(shape: tuple[int, ...]) -> None:
    cut = windows(spec(*shape))
    assert cut.shape[1:] == shape
    assert (cut.sum(axis=0) == 1).all()
    assert 1 <= len(cut) <= WINDOWS


def test_a_model_without_scores_is_refused() -> None:
    async def ask(tensors: Any, rows: int) -> Any:
        raise AssertionError("the model was asked")

    for explainer in (Explainer(Corner(), None), Explainer(_two_inputs(), "y")):
        with pytest.raises(RequestError, match="only a model of one input"):
            asyncio.run(explainer.explain({"x": np.zeros((1, 784), np.float32)}, 8, ask))


def _two_inputs() -> Any:
    model = Corner()
    model.inputs["z"] = spec(3, name="z")
    return model


def image_of(predictor: Predictor, instances: Any, key: str = "instances") -> list[dict[str, Any]]:
    answer = httpx.post(predictor.url + EXPLAIN, json={key: instances}, timeout=30)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["explanations"])


def counted(predictor: Predictor, metric: str) -> float:
    lines = httpx.get(predictor.url + "/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric + "{"))


def test_a_predictor_explains_its_answers(predictor: Predictor, model_dir: Path, images: Any, expected: Any) -> None:
    answered, explained = counted(predictor, "hyperflow_instances_total"), "hyperflow_explained_instances_total"
    before = counted(predictor, explained)
    told = image_of(predictor, images[:3].reshape(3, 28, 28).tolist())
    for each, scores in zip(told, expected[:3], strict=True):
        assert each["class"] == scores.argmax()
        assert each["score"] == pytest.approx(scores.max(), abs=1e-5)
        assert np.shape(each["image"]) == (28, 28)
    blanked = np.where(windows(spec(784))[10], 0, images[0])
    fall = expected[0].max() - models.answers(model_dir, blanked[None])[0, expected[0].argmax()]
    assert np.ravel(told[0]["image"])[windows(spec(784))[10]] == pytest.approx(fall, abs=1e-5)
    assert counted(predictor, explained) - before == 3
    assert counted(predictor, "hyperflow_instances_total") == answered  # drift is read from what users get


@pytest.mark.parametrize(("form", "shape"), [("flat", (784,)), ("named", (28, 28, 1)), ("columns", (784,))])
def test_the_image_has_the_shape_that_was_sent(
    predictor: Predictor, images: Any, form: str, shape: tuple[int, ...]
) -> None:
    sent = images[:2].reshape(2, *shape).tolist()
    if form == "named":
        told = image_of(predictor, [{"flatten_input": each} for each in sent])
    elif form == "columns":
        told = image_of(predictor, {"flatten_input": sent}, "inputs")
    else:
        told = image_of(predictor, sent)
    assert [np.shape(each["image"]) for each in told] == [shape, shape]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"instances": [[0] * 784] * 9}, 413, "more than the 8"),
        ({"instances": [[0] * 783]}, 400, "783 numbers"),
        ({"instances": [["a"] * 784]}, 400, "flatten_input"),
        ({"instances": []}, 400, "one or more"),
        ({"inputs": {}}, 400, "flatten_input"),
        ([], 400, "must be an object"),
    ],
)
def test_what_is_refused(predictor: Predictor, body: Any, status: int, reason: str) -> None:
    answer = httpx.post(predictor.url + EXPLAIN, json=body)
    assert answer.status_code == status
    assert reason in answer.json()["error"]
