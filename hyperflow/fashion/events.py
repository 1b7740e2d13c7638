"""TensorBoard event files."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import tensorflow as tf

from hyperflow import volume
from hyperflow.errors import Unavailable

ENVIRONMENT = "HYPERFLOW_TENSORBOARD_DIR"


class Events:
    """Writes metrics where TensorBoard finds them; without a folder, writes nothing."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._writer: tf.io.TFRecordWriter | None = None
        if folder:
            with volume.writable(Path(folder)):
                Path(folder).mkdir(parents=True, exist_ok=True)
                name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
                self._writer = tf.io.TFRecordWriter(str(Path(folder) / name))
            self._write(tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer:
            self._writer.close()

    def add(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the values of one epoch."""
        scalars = [tf.compat.v1.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        summary = tf.compat.v1.Summary(value=scalars)
        self._write(tf.compat.v1.Event(wall_time=time.time(), step=epoch, summary=summary))

    def _write(self, event: tf.compat.v1.Event) -> None:
        if not self._writer:
            return
        try:
            self._writer.write(event.SerializeToString())
            self._writer.flush()
        except tf.errors.OpError as error:
            remedy = f"free some space, or leave {ENVIRONMENT} out"
            raise Unavailable(f"{self._folder} cannot be written", error.message, remedy) from error
