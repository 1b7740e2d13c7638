"""The command line: what runs on this machine, what looks after a cluster, and what sends pipelines to it."""

from hyperflow.cli import local, models  # the app lists its commands in the order in which these modules put them there

# isort: split
from hyperflow.cli import labelling

# isort: split
from hyperflow.cli import tracking

# isort: split
from hyperflow.cli import cluster

# isort: split
from hyperflow.cli import sending

# isort: split
from hyperflow.cli import approving
from hyperflow.cli.app import app, find_pipeline, main

__all__ = [
    "app",
    "approving",
    "cluster",
    "find_pipeline",
    "labelling",
    "local",
    "main",
    "models",
    "sending",
    "tracking",
]
