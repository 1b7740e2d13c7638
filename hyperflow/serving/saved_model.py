"""A SavedModel, loaded from the folder that KServe mounts and called through TensorFlow."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperflow.serving.folder import ModelError, newest_version
from hyperflow.serving.tensors import Array, Tensors, TensorSpec, rows_a_call

SIGNATURE = "serving_default"


class SavedModel:
    """A loaded model.

    Args:
        folder: The folder above the version folders.

    Raises:
        ModelError: There is no model, it is damaged, or its signature cannot be served.
    """

    platform = "tensorflow_savedmodel"

    def __init__(self, folder: Path) -> None:
        path = newest_version(folder)
        self.version = path.name
        self._function = _load(path)
        arguments = self._function.structured_input_signature[1]
        self.inputs: Mapping[str, TensorSpec] = {
            name: _spec(path, name, tensor) for name, tensor in sorted(arguments.items())
        }
        outputs = self._function.structured_outputs
        self.outputs: Mapping[str, TensorSpec] = {
            name: _spec(path, name, tensor) for name, tensor in sorted(outputs.items())
        }

    def run(self, tensors: Tensors) -> dict[str, Array]:
        """Answer a batch."""
        import tensorflow as tf

        answer = self._function(**{name: tf.constant(array) for name, array in tensors.items()})
        return {name: tensor.numpy() for name, tensor in answer.items()}

    def warm(self, batch_rows: int) -> None:
        """Call the model with one instance and with a full batch, so that no client waits for first-time work.

        Raises:
            ModelError: It cannot answer.
        """
        with _explained("the model cannot answer"):
            for rows in (1, rows_a_call(self.inputs, batch_rows)):
                self.run({name: np.zeros((rows, *spec.shape), spec.dtype) for name, spec in self.inputs.items()})


def _load(path: Path) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    with _explained(f"the model {path} cannot be loaded"):
        loaded = tf.saved_model.load(str(path))
    if SIGNATURE not in loaded.signatures:
        names = ", ".join(sorted(loaded.signatures)) or "none"
        raise ModelError(f"the model {path} has no signature {SIGNATURE}", f"it has {names}", "export it with one")
    function = loaded.signatures[SIGNATURE]
    function.owner = loaded  # the function does not keep the model's variables alive
    return function


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    import tensorflow as tf

    # What a damaged file makes TensorFlow's loader raise, by the place of the damage.
    faults = (tf.errors.OpError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError)
    try:
        yield
    except faults as error:
        why = str(error).strip().partition("\n")[0][:500]
        raise ModelError(what, f"{type(error).__name__}: {why}", "export it anew") from error


def _spec(path: Path, name: str, tensor: Any) -> TensorSpec:
    what, remedy = f"the model {path} cannot be served", "export it with tensors of numbers and a free batch dimension"
    shape = tensor.shape.as_list() if tensor.shape.rank is not None else []
    if not shape or shape[0] is not None or None in shape[1:]:
        raise ModelError(what, f"tensor {name!r} has the shape {tensor.shape}", remedy)
    dtype = np.dtype(tensor.dtype.as_numpy_dtype)
    if dtype.kind not in "biuf":
        raise ModelError(what, f"tensor {name!r} is of type {tensor.dtype.name}", remedy)
    return TensorSpec(name, dtype, tuple(shape[1:]))
