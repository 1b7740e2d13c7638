"""Make tests/data/fashion-mnist-small from Fashion-MNIST: the first images of each class, in their order.

python tests/data/make_subset.py FOLDER     FOLDER has the four published files
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hyperflow.datasets.idx import Bytes, read_idx, write_idx

TARGET = Path(__file__).parent / "fashion-mnist-small"
CLASSES = 10
COUNTS = {"train": 1500, "t10k": 500}


def first_of_each_class(labels: Bytes, count: int) -> np.ndarray:
    """Return the indices of the first images, as many of each class."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[: count // CLASSES] for label in range(CLASSES)]))


def main(source: Path) -> None:
    """Write the four files."""
    TARGET.mkdir(exist_ok=True)
    for prefix, count in COUNTS.items():
        labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz")
        chosen = first_of_each_class(labels, count)
        images = read_idx(source / f"{prefix}-images-idx3-ubyte.gz")
        write_idx(TARGET / f"{prefix}-labels-idx1-ubyte.gz", labels[chosen])
        write_idx(TARGET / f"{prefix}-images-idx3-ubyte.gz", images[chosen])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
