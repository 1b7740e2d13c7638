"""The fixtures of the whole runs."""

from tests.run.laptop import done, laptop

__all__ = ["done", "laptop"]
