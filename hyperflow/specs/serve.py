"""What is served, and what answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from hyperflow.errors import InvalidParameter, one_of
from hyperflow.specs.addresses import check_url
from hyperflow.specs.trainer import Compute
from hyperflow.specs.values import Value, check_claim, check_run_id, check_service_name, fraction, freeze, whole

RUNTIMES = ("hyperflow", "tensorflow")
"""Our own predictor, or TensorFlow Serving as KServe ships it."""
SCALE_METRICS = ("concurrency", "rps", "cpu", "memory")
"""What may decide how many replicas there are: Knative's two (requests at one time, requests a second), and the two of
Kubernetes' own autoscaler."""

_INT32 = 2**31 - 1


@dataclass(frozen=True)
class ModelRef:
    """A model that is or was served.

    Args:
        path: The folder above the version folder; what a service's storage points at.
        run_id: The run that trained it.
        accuracy: Accuracy on the test set, 0 to 1.
        data: Digest of the data set it was trained and tested on.
        parameters: The hyper-parameters it was trained with.
        labels: Labels of a service that serves it, where the engine has labels; they make it no other model.
    """

    path: str
    run_id: str = ""
    accuracy: float = 0.0
    data: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise InvalidParameter("model_path", self.path, "an absolute path")
        fraction("accuracy", self.accuracy)
        freeze(self, "parameters", self.parameters)
        freeze(self, "labels", self.labels)


@dataclass(frozen=True)
class ServeSpec:
    """A model to serve under a name, in place of whatever has the name now.

    Args:
        run_id: The run this belongs to.
        name: The service's name, which is also the model's name in the protocol.
        model: What to serve.
        runtime: One of `RUNTIMES`.
        image: The predictor's image, where the engine has images and the runtime is `hyperflow`.
        min_replicas: Replicas at least; 0 lets Knative scale to nothing.
        max_replicas: Replicas at most.
        scale_metric: What decides how many there are in between, one of `SCALE_METRICS`; empty leaves it to the engine.
        scale_target: How much of it one replica is to have: requests, or percent of what it asks for; 0 leaves it to
            the engine.
        canary_percent: Share of requests for the new model until `promote`; 100 means no canary.
        log_payloads: Where our own predictor keeps what is asked and answered: a folder, by its path on the volume, or
            a URL; empty for nowhere.
        port: Port on this machine, where the engine serves on one; 0 means any free one.
        compute: Resources of a replica.
        claim: The volume claim, where the engine has claims.
        timeout: Seconds for the new model to answer.
    """

    run_id: str
    name: str
    model: ModelRef
    runtime: str = "hyperflow"
    image: str = ""
    min_replicas: int = 1
    max_replicas: int = 1
    scale_metric: str = ""
    scale_target: int = 0
    canary_percent: int = 100
    log_payloads: str = ""
    port: int = 0
    compute: Compute = field(default_factory=Compute)
    claim: str = "hyperflow"
    timeout: int = 600

    def __post_init__(self) -> None:
        check_run_id(self.run_id)
        check_service_name(self.name)
        if self.runtime not in RUNTIMES:
            raise InvalidParameter("runtime", self.runtime, one_of(RUNTIMES))
        whole("min_replicas", self.min_replicas, 0)
        whole("max_replicas", self.max_replicas, 1)
        if self.min_replicas > self.max_replicas:
            raise InvalidParameter("min_replicas", self.min_replicas, f"at most max_replicas ({self.max_replicas})")
        if self.scale_metric not in ("", *SCALE_METRICS):
            raise InvalidParameter("scale_metric", self.scale_metric, f"empty, or {one_of(SCALE_METRICS)}")
        whole("scale_target", self.scale_target, 0, _INT32)
        whole("canary_percent", self.canary_percent, 1, 100)
        _check_log(self.log_payloads, self.runtime)
        whole("port", self.port, 0, 65535)
        whole("timeout", self.timeout, 1)
        check_claim(self.claim)


@dataclass(frozen=True)
class Endpoint:
    """A service that answers.

    Args:
        name: The service and model name.
        url: Base URL; requests go to `<url>/v1/models/<name>:predict`.
        model: What it serves.
        previous: What it served before, or None.
        revision: The engine's own name for this state of the service.
        location: Where to look at it.
    """

    name: str
    url: str
    model: ModelRef
    previous: ModelRef | None = None
    revision: str = ""
    location: str = ""


def _check_log(place: str, runtime: str) -> None:
    if not place:
        return
    if runtime != "hyperflow":
        raise InvalidParameter("log_payloads", place, f"empty with the runtime {runtime}, which keeps none")
    if "://" in place:
        return check_url("log_payloads", place)
    path = PurePosixPath(place)
    if path.is_absolute() or ".." in path.parts or not path.parts or not place.isprintable():
        allowed = "a folder, by its path on the volume (payloads for example), or a URL with http:// or https://"
        raise InvalidParameter("log_payloads", place, allowed)
