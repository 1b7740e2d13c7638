"""Whether what users send still looks like what the model learnt from.

The predictor counts its answers by class and adds up their confidences (`/metrics`, Prometheus'
text format). The counts since the last look are compared with the classes of the training set by

- Pearson's chi-square test: how probable such counts are if nothing has changed. With much traffic
  it finds differences that do not matter, so nothing is decided by it;
- the population stability index, a symmetric Kullback-Leibler divergence that says how large the
  difference is (Siddiqi 2006, Credit Risk Scorecards, p. 136: below 0.1 none worth mentioning,
  above 0.25 a large one).

Questions that Hyperflow itself asks are left out: `own_questions` moves the mark behind them.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus

from hyperflow import client, volume
from hyperflow.errors import JobFailed
from hyperflow.specs import Drift, Endpoint
from hyperflow.volume import paths

LEAST_INSTANCES = 100
"""Answers below which nothing is said: by chance alone ten classes then have an index of about 0.1."""

_TIMEOUT = 10.0
_SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>[0-9.eE+-]+)")
_CLASS = re.compile(r'class="(\d+)"')
_LEAST_SHARE = 1e-4  # in place of none, where a logarithm needs a share


@dataclass(frozen=True)
class Traffic:
    """What a predictor has answered.

    Args:
        classes: Answers by class.
        confidence: Sum of the answered classes' probabilities.
        started: When its process started; counters begin anew with another.
    """

    classes: Mapping[str, float]
    confidence: float = 0.0
    started: float = 0.0

    @property
    def instances(self) -> float:
        """How many answers."""
        return sum(self.classes.values())

    def since(self, mark: Traffic) -> Traffic:
        """Leave out what was answered up to a mark; a mark of another process counts for nothing."""
        if mark.started != self.started or mark.instances > self.instances:
            return self
        counts = {name: count - mark.classes.get(name, 0.0) for name, count in self.classes.items()}
        return Traffic(counts, self.confidence - mark.confidence, self.started)

    def plus(self, other: Traffic) -> Traffic:
        """Add what another span of time has."""
        names = {*self.classes, *other.classes}
        counts = {name: self.classes.get(name, 0.0) + other.classes.get(name, 0.0) for name in sorted(names)}
        return Traffic(counts, self.confidence + other.confidence, self.started)


def measure(traffic: Traffic, train_counts: Sequence[int], expected_confidence: float) -> Drift | None:
    """Compare answers with the training set; None for too few answers to say anything."""
    counts = [traffic.classes.get(str(index), 0.0) for index in range(len(train_counts))]
    total = sum(counts)
    if total < LEAST_INSTANCES:
        return None
    expected = [count / sum(train_counts) for count in train_counts]
    observed = [count / total for count in counts]
    statistic, p_value = chi_square(counts, expected)
    confidence = traffic.confidence / traffic.instances
    return Drift(
        round(total), observed, expected, psi(observed, expected), statistic, p_value, confidence, expected_confidence
    )


def psi(observed: Sequence[float], expected: Sequence[float]) -> float:
    """Return the population stability index of two distributions."""
    pairs = [(max(o, _LEAST_SHARE), max(e, _LEAST_SHARE)) for o, e in zip(observed, expected, strict=True)]
    return sum((o - e) * math.log(o / e) for o, e in pairs)


def chi_square(counts: Sequence[float], expected: Sequence[float]) -> tuple[float, float]:
    """Return Pearson's statistic of counts against shares, and its probability."""
    total = sum(counts)
    pairs = [(count, total * share) for count, share in zip(counts, expected, strict=True) if share > 0]
    statistic = sum((count - wanted) ** 2 / wanted for count, wanted in pairs)
    return statistic, chi_square_tail(statistic, len(pairs) - 1)


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Return the probability above a value of the chi-square distribution.

    The finite series of Abramowitz and Stegun 1964, Handbook of Mathematical Functions, 26.4.4 (odd) and 26.4.5 (even).
    """
    half = statistic / 2
    if half <= 0:
        return 1.0
    first = math.erfc(math.sqrt(half)) if freedom % 2 else 0.0
    exponents = [index + (freedom % 2) / 2 for index in range(freedom // 2)]
    return min(1.0, first + sum(math.exp(e * math.log(half) - half - math.lgamma(e + 1)) for e in exponents))


def look(endpoint: Endpoint) -> Traffic | None:
    """Read what a predictor has answered since it started, or None where it does not say.

    Of several replicas this is the one that happens to answer.
    """
    try:
        reply = client.get(f"{endpoint.url}/metrics", seconds=_TIMEOUT)
    except JobFailed:
        return None
    return parse(reply.body.decode("utf-8", "replace")) if reply.status == HTTPStatus.OK else None


def parse(text: str) -> Traffic | None:
    """Read the predictor's counters from Prometheus' text format, or return None where they are not there."""
    classes: dict[str, float] = {}
    single = {"hyperflow_confidence_total": 0.0, "process_start_time_seconds": 0.0}
    for line in text.splitlines():
        sample = _SAMPLE.fullmatch(line)
        if sample is None:
            continue
        label = _CLASS.search(sample["labels"] or "")
        if sample["name"] == "hyperflow_predicted_class_total" and label:
            classes[label[1]] = float(sample["value"])
        elif sample["name"] in single:
            single[sample["name"]] = float(sample["value"])
    if "hyperflow_confidence_total" not in text:
        return None
    return Traffic(classes, single["hyperflow_confidence_total"], single["process_start_time_seconds"])


def recent(endpoint: Endpoint) -> Traffic | None:
    """Return what users were answered since the last mark, and set the mark; None where nothing is known."""
    now = look(endpoint)
    if now is None:
        return None
    mark = _read_mark(endpoint.name)
    _write_mark(endpoint.name, now)
    return now.since(mark)


@contextlib.contextmanager
def own_questions(endpoint: Endpoint) -> Iterator[None]:
    """Keep what is asked in the block from being taken for users' questions."""
    before = look(endpoint)
    yield
    after = look(endpoint)
    if before is None or after is None:
        return
    mark = _read_mark(endpoint.name)
    asked = after.since(before)
    _write_mark(endpoint.name, mark.plus(asked) if mark.started == after.started else asked)


def _read_mark(name: str) -> Traffic:
    try:
        return Traffic(**json.loads(paths.traffic(name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Traffic({})


def _write_mark(name: str, mark: Traffic) -> None:
    volume.write_text(paths.traffic(name), json.dumps(asdict(mark)))
