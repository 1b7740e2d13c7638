"""Which runtime calls a model: ONNX Runtime where its folder has a copy for it, else TensorFlow."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hyperflow.serving import logs
from hyperflow.serving.folder import ModelError, newest_version, why_no_copy
from hyperflow.serving.tensors import Model
from hyperflow.volume.paths import ONNX, SAVED_MODEL

_REMEDY = "serve it with the image hyperflow-model, which has TensorFlow, or export it with an ONNX copy"


def load(folder: Path, batch_rows: int, threads: int = 1) -> Model:
    """Load and warm the newest model of a folder, in a second where ONNX Runtime can.

    Args:
        folder: The folder above the version folders.
        batch_rows: Most instances in one call.
        threads: On how many threads ONNX Runtime works on one call.

    Raises:
        ModelError: There is no model, it is damaged, its signature cannot be served, or it needs a
            TensorFlow that is not here.
    """
    path = newest_version(folder)
    found = _onnx(path, batch_rows, threads)
    if not isinstance(found, str):
        return found
    if not (path / SAVED_MODEL).is_file():
        raise ModelError(
            f"the model {path} cannot be served", found, "export it anew: it has no SavedModel to fall back on"
        )
    if importlib.util.find_spec("tensorflow") is None:
        raise ModelError(f"the model {path} cannot be served without TensorFlow", found, _REMEDY)
    from hyperflow.serving.saved_model import SavedModel

    logs.info("TensorFlow serves the model", why=found)
    model = SavedModel(folder)
    model.warm(batch_rows)
    return model


def _onnx(path: Path, batch_rows: int, threads: int) -> Model | str:
    """Load the ONNX copy, or say why not."""
    if not (path / ONNX).is_file():
        left_out = why_no_copy(path)
        return f"it has no {ONNX}" + (f": {left_out}" if left_out else "")
    if importlib.util.find_spec("onnxruntime") is None:
        return "ONNX Runtime is not installed"
    from hyperflow.serving.onnx_model import OnnxModel

    try:
        model = OnnxModel(path, threads)
        model.warm(batch_rows)
    except ModelError as error:
        return f"{error.what}: {error.why}"
    return model
