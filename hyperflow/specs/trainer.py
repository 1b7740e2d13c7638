"""The program that trains, and what each of its processes gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hyperflow.errors import InvalidParameter
from hyperflow.specs.placement import check_node_selector, toleration
from hyperflow.specs.values import LABEL, Value, check_quantity, check_values, format_value, freeze, whole

_RESOURCE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?")
_WITHOUT_GPU = ("hyperflow-model", "hyperflow-steps", "hyperflow-local", "hyperflow-demo")
"""Our images whose TensorFlow, if they have one, uses no GPU."""


def uses_no_gpu(image: str) -> bool:
    """Tell whether an image is known to have nothing that could use a GPU; of others' images that is not known."""
    name = image.partition("@")[0].rsplit("/", 1)[-1]
    return name.partition(":")[0] in _WITHOUT_GPU


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
        gpus: Whole GPUs.
        gpu_resource: What the cluster calls one.
        shared_memory: Memory at /dev/shm, as a Kubernetes quantity, or empty for the container runtime's own.
        priority_class: Name of the PriorityClass, or empty.
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
    gpu_resource: str = "nvidia.com/gpu"
    shared_memory: str = ""
    priority_class: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, object], ...] = ()
    image_pull_secret: str = ""
    queue: str = ""
    gang: bool = False
    fs_group: int = 1000

    def __post_init__(self) -> None:
        for name in ("cpu", "memory", *(["shared_memory"] if self.shared_memory else [])):
            check_quantity(name, getattr(self, name))
        whole("gpus", self.gpus, 0)
        if not isinstance(self.gpu_resource, str) or not _RESOURCE.fullmatch(self.gpu_resource):
            raise InvalidParameter("gpu_resource", self.gpu_resource, "a resource's name such as nvidia.com/gpu")
        for name, what in (("image_pull_secret", "a Secret"), ("priority_class", "a PriorityClass")):
            if (value := getattr(self, name)) and not LABEL.fullmatch(value):
                raise InvalidParameter(name, value, f"the name of {what}, or nothing")
        check_node_selector(self.node_selector)
        freeze(self, "node_selector", self.node_selector)
        object.__setattr__(self, "tolerations", tuple(toleration(each) for each in self.tolerations))
