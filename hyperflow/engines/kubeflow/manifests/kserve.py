"""Which KServe a cluster has, and what that one can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from hyperflow.errors import InvalidParameter, one_of
from hyperflow.specs import ServeSpec

Mode = Literal["Knative", "Standard"]

MODE_ANNOTATION = "serving.kserve.io/deploymentMode"

SCALE_METRICS: dict[Mode, tuple[str, ...]] = {"Knative": ("concurrency", "rps"), "Standard": ("cpu", "memory")}
"""What each mode's autoscaler goes by: Knative's own, and Kubernetes' HorizontalPodAutoscaler."""

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
            InvalidParameter: Scaling, or a canary, that this version and mode do not have.
        """
        metrics = SCALE_METRICS[self.mode]
        if spec.scale_metric and spec.scale_metric not in metrics:
            allowed = f"empty, or {one_of(metrics)}: they are what KServe's {self.mode} mode scales by"
            raise InvalidParameter("scale_metric", spec.scale_metric, allowed)
        if self.mode == "Knative":
            return
        if spec.min_replicas == 0:
            raise InvalidParameter("min_replicas", 0, "at least 1: only KServe's Knative mode scales to nothing")
        if spec.scale_target > 100:
            allowed = "at most 100: KServe's Standard mode takes percent of the cpu or memory that a replica asks for"
            raise InvalidParameter("scale_target", spec.scale_target, allowed)
        if spec.scale_metric == "memory" and not spec.scale_target:  # KServe then says nothing, and cpu is gone by
            raise InvalidParameter("scale_target", 0, "from 1 up to 100 with the scale_metric memory")
        if spec.canary_percent < 100 and self.version < (0, 20):
            allowed = "100: a canary needs KServe's Knative mode, or KServe 0.20"
            raise InvalidParameter("canary_percent", spec.canary_percent, allowed)
