"""The small data set that the tests load, and the names of its files."""

from __future__ import annotations

from pathlib import Path

from hyperflow.datasets.files import FILES

SMALL = Path(__file__).parents[1] / "data" / "fashion-mnist-small"
NAME = "fashion-mnist-small"
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (f"{stem}.gz" for stem in FILES)
