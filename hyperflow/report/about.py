"""With what a run was made: parameters, data set, versions, machine and time."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import hyperflow
from hyperflow.parameters import TABLE
from hyperflow.volume import paths, records
from hyperflow.volume.records import Asked, Records

_IMAGES = {"trainer_image", "serving_image"}  # the compiled pipeline has its own, which do nothing on this machine
_PACKAGES = ("tensorflow", "keras", "optuna", "kfp", "numpy")


def about(run_id: str, kept: Records, ended: float) -> dict[str, Any]:
    """Gather what a reader needs to know to make a run again; all of it is text."""
    asked = records.read(run_id, Asked)
    first = asked.started if asked else min((record.started for record in kept.kept), default=ended)
    made = {
        "pipeline": os.path.basename(asked.pipeline) if asked else "",
        "started": _time(first), "ended": _time(ended), "machine": machine(), "versions": versions(),
    }  # fmt: skip
    if kept.load_data:
        data = kept.load_data.dataset
        made["data set"] = (
            f"{data.name}, digest {data.digest}, {data.train_count} + {data.test_count} images, {_form(data.shape)}"
        )
    if kept.train and (events := paths.training(run_id) / "tensorboard").is_dir():
        made["TensorBoard"] = f"tensorboard --logdir {events}"
    return {**made, "parameters": _texts(asked.values if asked else {})}


def _form(shape: tuple[int, int, int]) -> str:
    height, width, channels = shape
    return f"{width} × {height} pixels, {'grey' if channels == 1 else 'in colour'}"


def given(parameters: Mapping[str, str]) -> dict[str, str]:
    """Select the parameters that are not what they are by default."""
    return {
        name: text for name, text in parameters.items()
        if name not in _IMAGES and (name not in TABLE or text != _text(TABLE[name].default))
    }  # fmt: skip


def machine() -> str:
    """Name this machine's system, cores and memory."""
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"


def versions() -> str:
    """Name the versions of what a run's outcome depends on."""
    found = [f"hyperflow {hyperflow.__version__}", f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """Turn a read-only default into what JSON has."""
    return dict(value) if isinstance(value, Mapping) else list(value)


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
