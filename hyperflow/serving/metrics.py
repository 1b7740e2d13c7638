"""What Prometheus is told at `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

from hyperflow.serving.provenance import Expected
from hyperflow.serving.tensors import Tensors, TensorSpec

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
INFO = "info"
"""In the protocol's place for requests that do not ask the model: probes and metadata."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MOST_CLASSES = 100  # of which each has a series from the start


class Metrics:
    """What one server counts.

    The mean confidence is `hyperflow_confidence_total / hyperflow_instances_total`; as rates, it is
    that of any span of time.

    Args:
        model_name: Label of every metric.
        outputs: The model's outputs; the first of them that reads as scores of classes is counted by class.

    Attributes:
        scores: That output's name, or None.
    """

    def __init__(self, model_name: str, outputs: Mapping[str, TensorSpec]) -> None:
        self.requests = 0
        self._model = model_name
        self.scores = next((name for name, spec in outputs.items() if _is_scores(spec)), None)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._answered = self._counter("hyperflow_requests", "Requests answered", "protocol", "status")
        self._instances = self._counter("hyperflow_instances", "Instances answered").labels(model_name)
        self._explained = self._counter("hyperflow_explained_instances", "Instances explained").labels(model_name)
        self._payloads = self._counter("hyperflow_payloads", "Requests drawn to be kept, by what came of it", "outcome")
        self._classes = self._counter("hyperflow_predicted_class", "Instances by the class predicted", "class")
        self._confidence = self._counter("hyperflow_confidence", "Sum of the predicted classes' scores")
        self._seconds = self._histogram("hyperflow_request_seconds", "Time to answer", _SECONDS, "protocol")
        batches = self._histogram("hyperflow_batch_size", "Instances in a call of the model", _ROWS)
        calls = self._histogram("hyperflow_model_seconds", "Time of a call of the model", _SECONDS)
        self._batches, self._calls = batches.labels(model_name), calls.labels(model_name)
        if self.scores is not None:
            for index in range(min(outputs[self.scores].shape[0], _MOST_CLASSES)):
                self._classes.labels(model_name, index)  # a class that is never answered has a share, too: none

    def watch_queue(self, waiting: Callable[[], int], limit: int) -> None:
        """Show how many instances wait for the model, and how many may."""
        gauge = self._gauge("hyperflow_waiting_instances", "Instances that wait for the model")
        gauge.labels(self._model).set_function(waiting)
        self._gauge("hyperflow_waiting_instances_limit", "How many may").labels(self._model).set(limit)

    def describe(self, run_id: str, version: str, platform: str, expected: Expected) -> None:
        """Show which model is served, and what its answers looked like when it was made."""
        info = self._gauge("hyperflow_model_info", "1, for the model that is served", "run_id", "version", "platform")
        info.labels(self._model, run_id, version, platform).set(1)
        made = self._gauge("hyperflow_model_made_timestamp_seconds", "When the model was made", "run_id")
        if expected.made:
            made.labels(self._model, run_id).set(expected.made)
        shares = self._gauge("hyperflow_expected_class_ratio", "Share of a class in the training set", "class")
        for index, share in enumerate(expected.classes):
            shares.labels(self._model, index).set(share)
        confidence = self._gauge("hyperflow_expected_confidence", "Mean confidence on the test set")
        if expected.confidence:
            confidence.labels(self._model).set(expected.confidence)

    def observe_request(self, protocol: str, status: int | str, seconds: float) -> None:
        """Count a request."""
        self.requests += 1
        self._answered.labels(self._model, protocol, status).inc()
        self._seconds.labels(self._model, protocol).observe(seconds)

    def observe_batch(self, answer: Tensors, rows: int, seconds: float) -> None:
        """Count a call of the model: the answers that somebody gets, and all of its rows."""
        self._batches.observe(rows)
        self._calls.observe(seconds)
        counted = len(next(iter(answer.values())))
        self._instances.inc(counted)
        if self.scores is None or not counted:
            return
        scores = answer[self.scores]
        classes, counts = np.unique(scores.argmax(axis=1), return_counts=True)
        for index, count in zip(classes.tolist(), counts.tolist(), strict=True):
            self._classes.labels(self._model, index).inc(count)
        confidence = float(scores.max(axis=1).sum())
        if confidence >= 0:  # not so where an answer is not a number, which is refused
            self._confidence.labels(self._model).inc(confidence)

    def observe_explained(self, rows: int) -> None:
        """Count instances explained."""
        self._explained.inc(rows)

    def observe_payload(self, outcome: str) -> None:
        """Count a request that was drawn to be kept: `logged`, `dropped` or `failed`."""
        self._payloads.labels(self._model, outcome).inc()

    def exposition(self) -> bytes:
        """Write every metric in Prometheus' text format."""
        return bytes(generate_latest(self._registry))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ("model_name", *labels), registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, ("model_name", *labels), registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, ("model_name", *labels), buckets=buckets, registry=self._registry)


def _is_scores(spec: TensorSpec) -> bool:
    return spec.dtype.kind == "f" and len(spec.shape) == 1 and spec.shape[0] > 1
