"""The folder that KServe mounts: version folders, and in the newest a SavedModel, its ONNX form, or both."""

from __future__ import annotations

import json
from pathlib import Path

from hyperflow.errors import HyperflowError
from hyperflow.volume.paths import EVALUATION, ONNX, SAVED_MODEL, is_model


class ModelError(HyperflowError):
    """The model cannot be loaded, or not be served as it is."""

    exit_code = 3


def newest_version(folder: Path) -> Path:
    """Find the version folder with the highest number.

    Raises:
        ModelError: There is none with a model in it.
    """
    remedy = "give the folder above the version folder, as in DIR/1/saved_model.pb"
    try:
        versions = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    except OSError as error:
        raise ModelError(f"the model folder {folder} cannot be read", str(error), remedy) from error
    if not versions:
        raise ModelError(f"no model in {folder}", "it has no folder named by a number", remedy)
    newest = max(versions, key=lambda path: int(path.name))
    if not is_model(newest):
        raise ModelError(f"no model in {newest}", f"it has neither a {SAVED_MODEL} nor {ONNX}", remedy)
    return newest


def why_no_copy(path: Path) -> str:
    """Say what the trainer has written down about a SavedModel that has no ONNX copy, or nothing."""
    try:
        return str(json.loads((path / EVALUATION).read_bytes())["onnx"]["left_out"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
