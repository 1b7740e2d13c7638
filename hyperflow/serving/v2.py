"""V2: the Open Inference Protocol's REST bodies, JSON and the binary tensor extension."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperflow.serving.tensors import DATATYPES, Array, Model, RequestError, Shape, Tensors, TensorSpec, to_array
from hyperflow.serving.v1 import dump

EXTENSIONS = ("binary_tensor_data",)


@dataclass(frozen=True)
class Query:
    """What a request asks.

    Args:
        tensors: The inputs.
        rows: How many instances there are.
        id: The request's id, or one made here.
        outputs: The outputs asked for, and whether each is to come as bytes.
    """

    tensors: Tensors
    rows: int
    id: str
    outputs: Mapping[str, bool]


def decode(content: object, binary: bytes, model: Model, max_rows: int) -> Query:
    """Read a parsed body and the bytes that follow it.

    Raises:
        RequestError: It is not what the protocol or the model wants, with the reason.
    """
    if not isinstance(content, dict):
        raise RequestError('the body must be an object with "inputs"')
    request_id = _typed(content, "id", str, "")
    inputs = _objects(content, "inputs")
    outputs = _outputs(content, model)
    check_names([_name(tensor) for tensor in inputs], model)
    tensors: dict[str, Array] = {}
    rows = {_rows(tensor, max_rows) for tensor in inputs}
    if len(rows) > 1:
        raise RequestError("the inputs are not all of one length")
    for tensor in inputs:
        spec = model.inputs[tensor["name"]]
        tensors[spec.name], binary = _tensor(tensor, spec, binary)
    if binary:
        raise RequestError(f"{len(binary)} bytes follow that belong to no input")
    return Query(tensors, rows.pop(), request_id or str(uuid.uuid4()), outputs)


def encode(query: Query, answer: Tensors, model_name: str, version: str) -> tuple[bytes, int | None]:
    """Write the answer; the second value is the length of its JSON where bytes follow it."""
    head: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name, as_bytes in query.outputs.items():
        array = answer[name]
        output: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype(array)}
        if as_bytes:
            tail.append(array.tobytes())
            output["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            output["data"] = array.reshape(-1)
        head.append(output)
    content = dump({"model_name": model_name, "model_version": version, "id": query.id, "outputs": head})
    return (content + b"".join(tail), len(content)) if tail else (content, None)


def metadata(model: Model, model_name: str) -> dict[str, Any]:
    """Describe the model."""
    return {
        "name": model_name,
        "versions": [model.version],
        "platform": model.platform,
        "inputs": [_described(spec) for spec in model.inputs.values()],
        "outputs": [_described(spec) for spec in model.outputs.values()],
    }


def datatype(array: Array) -> str:
    """Return the protocol's name of an array's type."""
    return next(name for name, dtype in DATATYPES.items() if dtype == array.dtype)


def check_names(names: Sequence[str], model: Model) -> None:
    """Refuse inputs that the model has not, or not every one of those that it has.

    Raises:
        RequestError: With the names that would do.
    """
    if sorted(names) != sorted(model.inputs):
        wanted = ", ".join(map(repr, model.inputs))
        raise RequestError(f"the model's inputs are {wanted}; each must be given, once, and no other")


def check_shape(shape: Sequence[object], name: str, max_rows: int) -> Shape:
    """Read a shape.

    Raises:
        RequestError: It is not one, or has no instances, or too many.
    """
    sizes = tuple(size for size in shape if type(size) is int and 0 < size < 2**31)
    if not sizes or len(sizes) != len(shape):
        raise RequestError(f"input {name!r}: the shape must be a list of positive whole numbers, the batch size first")
    if sizes[0] > max_rows:
        raise RequestError(f"input {name!r} has {sizes[0]} instances, more than the {max_rows} a request may have", 413)
    return sizes


def from_bytes(data: bytes, dtype: np.dtype[Any], shape: Shape, name: str) -> Array:
    """Read a tensor's bytes, little-endian and in row-major order.

    Raises:
        RequestError: They are more or fewer than the shape has.
    """
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise RequestError(f"input {name!r}: the shape and type make {wanted} bytes, {len(data)} came")
    return np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def find_datatype(name: object, input_name: str) -> np.dtype[Any]:
    """Look a datatype up.

    Raises:
        RequestError: The protocol has none of that name, or it is not one of numbers.
    """
    if not isinstance(name, str) or name not in DATATYPES:
        raise RequestError(f"input {input_name!r}: the datatype must be one of {', '.join(DATATYPES)}")
    return DATATYPES[name]


def _tensor(tensor: Mapping[str, Any], spec: TensorSpec, binary: bytes) -> tuple[Array, bytes]:
    shape = tuple(tensor["shape"])
    dtype = find_datatype(tensor.get("datatype"), spec.name)
    size = _typed(_typed(tensor, "parameters", dict, {}), "binary_data_size", int, None)
    if size is None:
        return spec.from_array(_from_json(tensor, dtype, shape, spec.name)), binary
    if "data" in tensor:
        raise RequestError(f"input {spec.name!r} has both data and binary_data_size")
    if not 0 <= size <= len(binary):
        raise RequestError(f"input {spec.name!r}: binary_data_size is {size}, but {len(binary)} bytes are left")
    return spec.from_array(from_bytes(binary[:size], dtype, shape, spec.name)), binary[size:]


def _from_json(tensor: Mapping[str, Any], dtype: np.dtype[Any], shape: Shape, name: str) -> Array:
    data = _typed(tensor, "data", list, None)
    if data is None:
        raise RequestError(f"input {name!r} has no data")
    if dtype == np.float16:
        raise RequestError(f"input {name!r}: FP16 can only be sent as bytes")
    size = math.prod(shape)
    if len(data) == shape[0] and data and isinstance(data[0], list):
        data = _unnested(data, size)
    if data is None or len(data) != size:
        raise RequestError(f"input {name!r}: the shape makes {size} numbers, the data has another number of them")
    return to_array(data, dtype, name).reshape(shape)


def _unnested(data: list[Any], size: int) -> list[Any] | None:
    while data and all(isinstance(item, list) for item in data):
        data = [number for item in data for number in item]
        if len(data) > size:
            return None
    return data


def _outputs(content: Mapping[str, Any], model: Model) -> dict[str, bool]:
    every = _typed(_typed(content, "parameters", dict, {}), "binary_data_output", bool, False)
    asked = _objects(content, "outputs") if content.get("outputs") else [{"name": name} for name in model.outputs]
    outputs: dict[str, bool] = {}
    for output in asked:
        name = _name(output)
        if name not in model.outputs or name in outputs:
            raise RequestError(f"the model's outputs are {', '.join(map(repr, model.outputs))}; ask for each once")
        outputs[name] = _typed(_typed(output, "parameters", dict, {}), "binary_data", bool, every)
    return outputs


def _rows(tensor: Mapping[str, Any], max_rows: int) -> int:
    shape = _typed(tensor, "shape", list, [])
    return check_shape(shape, tensor["name"], max_rows)[0]


def _objects(content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    items = content.get(key)
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise RequestError(f'"{key}" must be a list of one or more objects')
    return items


def _name(tensor: Mapping[str, Any]) -> str:
    name = _typed(tensor, "name", str, "")
    if not name:
        raise RequestError('every input and output must have a "name"')
    return str(name)


def _typed(content: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = content.get(key)
    if value is None:
        return default
    if type(value) is not kind:
        words = {str: "a text", dict: "an object", list: "a list", int: "a whole number", bool: "true or false"}
        raise RequestError(f'"{key}" must be {words[kind]}')
    return value


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *spec.shape]}
