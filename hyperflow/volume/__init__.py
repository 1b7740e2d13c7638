"""The volume: one folder that every step and job sees, and what is kept on it.

`paths` has every place in one table, `files` the way in which things appear there; both are what
this package gives. What is kept has a module each: `runs`, `cards`, `lease`, `retention`.
"""

from hyperflow.volume.files import staged, writable, write_text
from hyperflow.volume.paths import (
    ENVIRONMENT,
    MODEL_VERSION,
    MOUNT_PATH,
    data_path,
    model_path,
    root,
    run_path,
)

__all__ = [
    "ENVIRONMENT",
    "MODEL_VERSION",
    "MOUNT_PATH",
    "data_path",
    "model_path",
    "root",
    "run_path",
    "staged",
    "writable",
    "write_text",
]
