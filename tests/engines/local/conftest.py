"""The fixtures of the rollouts on this machine."""

from tests.engines.local.machine import machine, warm

__all__ = ["machine", "warm"]
