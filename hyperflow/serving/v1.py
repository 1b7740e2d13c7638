"""V1: KServe's and TensorFlow Serving's REST bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from hyperflow.serving.explain import Explanation
from hyperflow.serving.tensors import Model, RequestError, Shape, Tensors, TensorSpec

_KEYS = frozenset({"instances", "inputs", "signature_name"})


@dataclass(frozen=True)
class Query:
    """What a body asks.

    Args:
        tensors: The instances.
        rows: How many there are.
        columnar: Whether the answer is one list an output, not one an instance.
    """

    tensors: Tensors
    rows: int
    columnar: bool = False


def decode(content: object, model: Model, max_rows: int) -> Query:
    """Read a parsed body.

    Raises:
        RequestError: It is not what the protocol or the model wants, with the reason.
    """
    if not isinstance(content, dict):
        raise RequestError('the body must be an object with "instances"')
    if content.get("signature_name", "serving_default") != "serving_default":
        raise RequestError('the only signature served is "serving_default"')
    if "instances" in content and "inputs" in content:
        raise RequestError('give either "instances" or "inputs", not both')
    if "inputs" in content:
        return _columns(content["inputs"], model, max_rows)
    if "instances" not in content:
        raise RequestError('the body has no "instances"')
    return _rows(content["instances"], model, max_rows)


def encode(query: Query, answer: Tensors) -> bytes:
    """Write the answer: numbers alone where the model has one output, else one object an instance."""
    if query.columnar:
        only = len(answer) == 1
        return dump({"outputs": next(iter(answer.values())) if only else dict(answer)})
    if len(answer) == 1:
        return dump({"predictions": next(iter(answer.values()))})
    rows = [{name: array[row] for name, array in answer.items()} for row in range(query.rows)]
    return dump({"predictions": rows})


def sent_shape(content: Any) -> Shape:
    """Return the shape in which a body that has been read sends its instances; all of them have one."""
    value = content.get("instances", content.get("inputs"))
    if isinstance(value, dict):  # columns
        value = next(iter(value.values()))
    first = value[0]
    return np.shape(next(iter(first.values())) if isinstance(first, dict) else first)


def encode_explanations(explanations: Sequence[Explanation], shape: Shape) -> bytes:
    """Write explanations, each an image of the shape that its instance was sent in."""
    told = [{"class": each.predicted, "score": each.score, "image": each.image.reshape(shape)} for each in explanations]
    return dump({"explanations": told})


def dump(content: object) -> bytes:
    """Write JSON; arrays are written as they are, with no detour over lists."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def _rows(instances: object, model: Model, max_rows: int) -> Query:
    batch = _batch("instances", instances, max_rows)
    kinds = set(map(type, batch))
    if kinds == {dict}:
        columns = {name: [_value(instance, model.inputs, name) for instance in batch] for name in model.inputs}
    elif len(model.inputs) == 1 and dict not in kinds:
        columns = dict.fromkeys(model.inputs, batch)
    else:
        raise RequestError(f'each of the "instances" must be an object with {_names(model.inputs)}')
    tensors = {name: spec.from_json(columns[name]) for name, spec in model.inputs.items()}
    return Query(tensors, len(batch))


def _columns(inputs: object, model: Model, max_rows: int) -> Query:
    if not isinstance(inputs, dict):
        inputs = dict.fromkeys(model.inputs, inputs) if len(model.inputs) == 1 else {}
    columns = {name: _batch("inputs", _value(inputs, model.inputs, name), max_rows) for name in model.inputs}
    lengths = set(map(len, columns.values()))
    if len(lengths) > 1:
        raise RequestError('the "inputs" are not all of one length')
    return Query({name: spec.from_json(columns[name]) for name, spec in model.inputs.items()}, lengths.pop(), True)


def _batch(key: str, batch: object, max_rows: int) -> list[Any]:
    if not isinstance(batch, list) or not batch:
        raise RequestError(f'"{key}" must be a list of one or more')
    if len(batch) > max_rows:
        raise RequestError(f'"{key}" has {len(batch)}, more than the {max_rows} a request may have', 413)
    return batch


def _value(given: Mapping[str, object], inputs: Mapping[str, TensorSpec], name: str) -> object:
    if given.keys() != inputs.keys():
        raise RequestError(f"the model's inputs are {_names(inputs)}; no more, no fewer")
    return given[name]


def _names(inputs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f'"{name}"' for name in inputs)
