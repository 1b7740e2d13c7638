"""The ONNX copy of a SavedModel, called through ONNX Runtime: the only module that knows it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperflow.serving.folder import ModelError
from hyperflow.serving.tensors import Array, Tensors, TensorSpec, rows_a_call
from hyperflow.volume.paths import ONNX

_TYPES = {"float": "float32", "double": "float64"}  # the others are called as in numpy
_FAULTS = (
    "EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile",
    "NotFound", "NotImplemented", "RuntimeException",
)  # fmt: skip


class OnnxModel:
    """A loaded model.

    Args:
        path: The version folder.
        threads: On how many threads one call works.

    Raises:
        ModelError: The copy is damaged, or cannot be served as it is.
    """

    platform = "onnx_onnxv1"

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.version = path.name
        file = path / ONNX
        with _explained(f"the model {file} cannot be loaded"):
            self._session = _session(file, threads)
        self.inputs: Mapping[str, TensorSpec] = _specs(file, self._session.get_inputs())
        self.outputs: Mapping[str, TensorSpec] = _specs(file, self._session.get_outputs())
        self._names = list(self.outputs)

    def run(self, tensors: Tensors) -> dict[str, Array]:
        """Answer a batch."""
        return dict(zip(self._names, self._session.run(self._names, dict(tensors)), strict=True))

    def warm(self, batch_rows: int) -> None:
        """Call the model with one instance and with a full batch, so that no client waits for first-time work.

        Raises:
            ModelError: It cannot answer.
        """
        with _explained("the model cannot answer"):
            for rows in (1, rows_a_call(self.inputs, batch_rows)):
                self.run({name: np.zeros((rows, *spec.shape), spec.dtype) for name, spec in self.inputs.items()})


def _session(file: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the event loop needs the core
    options.enable_mem_pattern = False  # batches differ in size: a pattern would be kept for each
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    faults = tuple(getattr(state, name) for name in _FAULTS)  # they have no base of their own
    try:
        yield
    except (*faults, OSError, ValueError, RuntimeError) as error:
        why = str(error).strip().partition("\n")[0][:500]
        raise ModelError(what, f"{type(error).__name__}: {why}", "export it anew") from error


def _specs(file: Path, tensors: list[Any]) -> dict[str, TensorSpec]:
    return {tensor.name: _spec(file, tensor) for tensor in sorted(tensors, key=lambda tensor: str(tensor.name))}


def _spec(file: Path, tensor: Any) -> TensorSpec:
    what, remedy = f"the model {file} cannot be served", "export it with tensors of numbers and a free batch dimension"
    shape = list(tensor.shape)
    if not shape or type(shape[0]) is int or not all(type(size) is int for size in shape[1:]):
        raise ModelError(what, f"tensor {tensor.name!r} has the shape {shape}", remedy)
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    try:
        dtype = np.dtype(_TYPES.get(kind, kind))
    except TypeError:
        raise ModelError(what, f"tensor {tensor.name!r} is of type {kind}", remedy) from None
    if dtype.kind not in "biuf":
        raise ModelError(what, f"tensor {tensor.name!r} is of type {kind}", remedy)
    return TensorSpec(tensor.name, dtype, tuple(shape[1:]))
