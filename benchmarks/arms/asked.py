"""What an arm is asked for, as the trainer's command line reads it; nothing of TensorFlow is imported for it."""

from __future__ import annotations

from typing import Any

from hyperflow.fashion.arguments import Arguments

Settings = dict[str, Any]


def arguments_of(settings: Settings) -> Arguments:
    """Read the trainer's `arguments`, of the data at `data_path`, which need not be there."""
    words = [f"--{name}={value}" for name, value in settings["arguments"].items()]
    return Arguments.parse([f"--data-path={settings.get('data_path', '/none')}", *words])
