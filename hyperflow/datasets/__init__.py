"""Data sets: where they come from, what they must look like, and how they lie on the volume."""

from hyperflow.datasets.dataset import IMAGE_SHAPE, Dataset, Split, load, newest, of_digest, open_dataset

__all__ = ["IMAGE_SHAPE", "Dataset", "Split", "load", "newest", "of_digest", "open_dataset"]
