"""Models of other signatures: names, types and shapes come from the model, not from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from hyperflow.serving import v1, v2
from hyperflow.serving.folder import ModelError, newest_version
from hyperflow.serving.saved_model import SavedModel
from hyperflow.serving.tensors import RequestError, TensorSpec, rows_a_call

A, B = [[1, 2, 3], [4, 5, 6]], 10


@pytest.fixture(scope="module")
def affine(tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    from tests.serving import models

    model = SavedModel(models.save(models.Affine(), tmp_path_factory.mktemp("affine")))
    model.warm(8)
    return model


def answer_v1(model: SavedModel, content: object) -> Any:
    query = v1.decode(content, model, 8)
    return orjson.loads(v1.encode(query, model.run(query.tensors)))


def test_the_signature_is_read(affine: SavedModel) -> None:
    described = v2.metadata(affine, "affine")
    assert described["inputs"] == [
        {"name": "a", "datatype": "FP64", "shape": [-1, 2, 3]},
        {"name": "b", "datatype": "INT32", "shape": [-1]},
    ]
    assert {output["name"]: output["datatype"] for output in described["outputs"]} == {
        "next": "INT32",
        "scaled": "FP64",
    }


def test_v1_rows_of_several_inputs_and_outputs(affine: SavedModel) -> None:
    answer = answer_v1(affine, {"instances": [{"a": A, "b": B}, {"a": A, "b": 0}]})
    first, second = answer["predictions"]
    assert first == {"next": 11, "scaled": [[20, 40, 60], [80, 100, 120]]}
    assert second["next"] == 1


def test_v1_columns_of_several_inputs_and_outputs(affine: SavedModel) -> None:
    answer = answer_v1(affine, {"inputs": {"a": [A, A], "b": [B, 1]}})
    assert answer["outputs"]["next"] == [11, 2]
    assert np.shape(answer["outputs"]["scaled"]) == (2, 2, 3)


def test_v2_of_several_inputs_and_outputs(affine: SavedModel) -> None:
    tensors = [
        {"name": "b", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}},
        {"name": "a", "shape": [1, 6], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]},
    ]
    outputs = [{"name": "scaled", "parameters": {"binary_data": True}}, {"name": "next"}]
    query = v2.decode({"inputs": tensors, "outputs": outputs}, np.int64(B).tobytes(), affine, 8)
    content, length = v2.encode(query, affine.run(query.tensors), "affine", "1")
    assert length is not None
    scaled, following = orjson.loads(content[:length])["outputs"]
    assert following == {"name": "next", "shape": [1], "datatype": "INT32", "data": [11]}
    assert scaled["shape"] == [1, 2, 3]
    assert np.frombuffer(content[length:]).tolist() == [20, 40, 60, 80, 100, 120]


@pytest.mark.parametrize(
    "content",
    [
        {"instances": [A]},
        {"instances": [{"a": A}]},
        {"instances": [{"a": A, "b": 0.5}]},
        {"instances": [{"a": A, "b": 2**31}]},
        {"instances": [{"a": A, "b": True}]},
        {"instances": [{"a": A, "b": [1, 2]}]},
        {"instances": [{"a": [[1, 2], [3, 4], [5, 6]], "b": 1}]},
        {"inputs": [A]},
        {"inputs": {"a": [A, A], "b": [B]}},
    ],
)
def test_what_the_signature_does_not_take_is_refused(affine: SavedModel, content: object) -> None:
    with pytest.raises(RequestError):
        v1.decode(content, affine, 8)


@pytest.mark.parametrize(
    ("shape", "taken"),
    [
        ((784,), {(784,), (28, 28), (28, 28, 1)}),
        ((28, 28, 1), {(784,), (28, 28), (28, 28, 1)}),
        ((3,), {(3,)}),
        ((3072,), {(3072,), (32, 32, 3)}),
        ((768,), {(768,), (16, 16, 3)}),
        ((), {(), (1,)}),
    ],
)
def test_shapes_taken(shape: tuple[int, ...], taken: set[tuple[int, ...]]) -> None:
    assert TensorSpec("x", np.dtype(np.float32), shape).shapes == taken


def test_the_highest_version_is_served(tmp_path: Path) -> None:
    for name in ("2", "10", "9", "latest", "x11"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "99").touch()
    assert newest_version(tmp_path).name == "10"


@pytest.mark.parametrize("kind", ["no signature", "texts", "fixed batch", "free shape"])
def test_a_signature_that_cannot_be_served_is_refused(tmp_path: Path, kind: str) -> None:
    import tensorflow as tf

    spec = {
        "no signature": tf.TensorSpec((None, 2), tf.float32),
        "texts": tf.TensorSpec((None, 2), tf.string),
        "fixed batch": tf.TensorSpec((4, 2), tf.float32),
        "free shape": tf.TensorSpec((None, None), tf.float32),
    }[kind]
    module = tf.Module()
    module.serve = tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[spec])
    signatures = {} if kind == "no signature" else module.serve
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=signatures)
    with pytest.raises(ModelError):
        SavedModel(tmp_path)


@pytest.mark.parametrize(
    ("shape", "rows"), [((784,), 256), ((3072,), 256), ((224 * 224 * 3,), 6), ((10_000_000,), 1), ((), 256)]
)
def test_a_call_takes_fewer_instances_where_they_are_large(shape: tuple[int, ...], rows: int) -> None:
    assert rows_a_call({"x": TensorSpec("x", np.dtype(np.float32), shape)}, 256) == rows
