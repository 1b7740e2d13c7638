"""Whether this process runs in a pod: what helps a user at a machine does not help one who reads a step's log."""

from __future__ import annotations

import os


def is_inside() -> bool:
    """Tell a pod from other machines by what Kubernetes gives to every container."""
    return "KUBERNETES_SERVICE_HOST" in os.environ
