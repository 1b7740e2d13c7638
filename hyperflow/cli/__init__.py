"""The command line."""

from hyperflow.cli.app import app, find_pipeline, main

__all__ = ["app", "find_pipeline", "main"]
