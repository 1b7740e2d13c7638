"""The command line: what runs on this machine, and what looks after a cluster."""

from hyperflow.cli import local  # the app lists its commands in the order in which these modules put them there

# isort: split
from hyperflow.cli import cluster
from hyperflow.cli.app import app, find_pipeline, main

__all__ = ["app", "cluster", "find_pipeline", "local", "main"]
