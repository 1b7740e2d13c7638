"""Data sets: where they come from, what they must look like, and how they lie on the volume."""

from hyperflow.datasets.dataset import Dataset, Split, keep, load, newest, of_digest, open_dataset

__all__ = ["Dataset", "Split", "keep", "load", "newest", "of_digest", "open_dataset"]
