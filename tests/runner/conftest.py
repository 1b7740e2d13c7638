"""The fixtures of the whole runs."""

from tests.runner.laptop import done, laptop

__all__ = ["done", "laptop"]
