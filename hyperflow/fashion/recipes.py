"""How each network is built and taught, as it was found to work best on Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """A network, and what belongs to it beyond the trainer's arguments.

    Args:
        blocks: Channels of the convolutions; the first of each block pools. None makes a network of dense layers.
        normalises: Whether batch normalisation follows each convolution.
        units: Width of the dense layer.
        mirrors: Whether half of the images are mirrored in every epoch, the other half in the next.
        shift: Pixels by which an image is moved at most, to any side.
        cutout: Side of a square that is wiped out of every image, in pixels.
        smoothing: Share of a label that all classes are given.
        warm_up: Share of the steps in which the rate rises.
        beta: AdamW's second; how slowly it forgets the gradients' squares.
        arguments: The trainer's arguments that have another default.
    """

    blocks: tuple[tuple[int, ...], ...] = ()
    normalises: bool = False
    units: int = 128
    mirrors: bool = True
    shift: int = 0
    cutout: int = 0
    smoothing: float = 0.0
    warm_up: float = 0.05
    beta: float = 0.999
    arguments: Mapping[str, int | float] = field(default_factory=dict)


RECIPES = {
    "cnn": Recipe(((16,), (32,), (64,)), warm_up=0.2, beta=0.99),
    "cnn-large": Recipe(
        ((32, 32), (64, 64), (128, 128)),
        normalises=True,
        shift=1,
        cutout=8,
        smoothing=0.1,
        warm_up=0.2,
        beta=0.99,
        arguments={"learning_rate": 0.006, "dropout_rate": 0.1, "batch_size": 256, "weight_decay": 0.02, "epochs": 28},
    ),
    "mlp": Recipe(mirrors=False),
}
