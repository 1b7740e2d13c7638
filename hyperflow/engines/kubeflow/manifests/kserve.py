"""Which KServe a cluster has, and what that one can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from hyperflow.errors import InvalidParameter
from hyperflow.specs import ServeSpec

Mode = Literal["Knative", "Standard"]

MODE_ANNOTATION = "serving.kserve.io/deploymentMode"

_OLD_MODES = {"Knative": "Serverless", "Standard": "RawDeployment"}


@dataclass(frozen=True)
class KServe:
    """What the cluster's KServe understands.

    Args:
        version: Major and minor version, or the oldest it can be.
        mode: How services are deployed.
    """

    version: tuple[int, int] = (0, 21)
    mode: Mode = "Standard"

    @classmethod
    def read(cls, version: str, mode: str) -> KServe:
        """Read what a user knows of a KServe: a version such as `0.21`, and `Standard` or `Knative`.

        Raises:
            InvalidParameter: They read as no version, or no mode.
        """
        major, _, minor = version.partition(".")
        if not (major.isdigit() and minor.isdigit()):
            raise InvalidParameter("kserve_version", version, "a version such as 0.21")
        if mode not in get_args(Mode):
            raise InvalidParameter("kserve_mode", mode, "Standard or Knative")
        return cls((int(major), int(minor)), cast(Mode, mode))

    @property
    def mode_value(self) -> str:
        """Name the mode as this version does: 0.16 gave both a new name, and 0.15 does not know the new ones."""
        return self.mode if self.version >= (0, 16) else _OLD_MODES[self.mode]

    def check(self, spec: ServeSpec) -> None:
        """Refuse what this KServe would pass over in silence.

        Raises:
            InvalidParameter: Scaling to nothing, or a canary, that this version and mode do not have.
        """
        if self.mode == "Knative":
            return
        if spec.min_replicas == 0:
            raise InvalidParameter("min_replicas", 0, "at least 1: only KServe's Knative mode scales to nothing")
        if spec.canary_percent < 100 and self.version < (0, 20):
            allowed = "100: a canary needs KServe's Knative mode, or KServe 0.20"
            raise InvalidParameter("canary_percent", spec.canary_percent, allowed)
