"""The program that trains, and what each of its processes gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hyperflow.errors import InvalidParameter
from hyperflow.specs.values import LABEL, Value, check_values, format_value, freeze, whole

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


@dataclass(frozen=True)
class Trainer:
    """The program that trials and training jobs run: any image and command that keeps the trainer contract.

    Args:
        command: Program and first arguments.
        arguments: Further `--<name>=<value>` given to every trial and to the training.
        image: The container image; engines without containers pass it over.
    """

    command: tuple[str, ...]
    arguments: Mapping[str, str] = field(default_factory=dict)
    image: str = ""

    def __post_init__(self) -> None:
        if not self.command or not all(isinstance(word, str) and word for word in self.command):
            raise InvalidParameter("command", list(self.command), "a list of texts that starts with a program")
        check_values("arguments", self.arguments)
        freeze(self, "arguments", {str(name): format_value(value) for name, value in self.arguments.items()})

    def argv(self, data_path: str, parameters: Mapping[str, Value], epochs: int, model_path: str = "") -> list[str]:
        """Build the command line; the same on every engine.

        A parameter of the search space wins over an argument or the number of epochs of the same name.
        """
        flags: dict[str, Value] = {"epochs": epochs, **self.arguments, **parameters}
        words = [*self.command, f"--data-path={data_path}"]
        words += [f"--{name}={format_value(value)}" for name, value in flags.items()]
        return [*words, f"--model-path={model_path}"] if model_path else words


@dataclass(frozen=True)
class Compute:
    """What one replica of a job or service gets; engines without a scheduler pass it over.

    Args:
        cpu: Cores, as a Kubernetes quantity.
        memory: Memory, as a Kubernetes quantity.
        gpus: Whole GPUs (`nvidia.com/gpu`).
        node_selector: Labels that the node must have.
        tolerations: Kubernetes tolerations.
        image_pull_secret: Name of the Secret to pull images with, or empty.
        queue: Kueue or Volcano queue, or empty.
        gang: Start all replicas or none.
        fs_group: Group that owns the volume's files.
    """

    cpu: str = "1"
    memory: str = "2Gi"
    gpus: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, object], ...] = ()
    image_pull_secret: str = ""
    queue: str = ""
    gang: bool = False
    fs_group: int = 1000

    def __post_init__(self) -> None:
        for name, quantity in (("cpu", self.cpu), ("memory", self.memory)):
            if not isinstance(quantity, str) or not _QUANTITY.fullmatch(quantity):
                raise InvalidParameter(name, quantity, "a Kubernetes quantity such as 2, 500m or 4Gi")
        whole("gpus", self.gpus, 0)
        if self.image_pull_secret and not LABEL.fullmatch(self.image_pull_secret):
            raise InvalidParameter("image_pull_secret", self.image_pull_secret, "the name of a Secret, or nothing")
        freeze(self, "node_selector", self.node_selector)
