"""What an engine has not got is refused by name, by its check and by its verbs, before anything is made."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from hyperflow import volume
from hyperflow.engines import Engine
from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.specs import ModelRef, ServeSpec
from tests.conformance.test_engine import serving, training, tuning

BEYOND: dict[str, dict[str, Any]] = {
    "tune.workers": {"workers": 2},
    "train.parameter_servers": {"parameter_servers": 1},
    "train.evaluator": {"evaluator": True},
    "serve.runtime": {"runtime": "tensorflow"},
    "serve.min_replicas": {"min_replicas": 2, "max_replicas": 2},
    "serve.canary_percent": {"canary_percent": 10},
}
"""Fields of which not every engine has every value, and what asks for another than the plainest."""


@pytest.mark.parametrize("field", BEYOND)
def test_what_an_engine_has_not_got_is_refused_by_the_fields_name(engine: Engine, field: str) -> None:
    stage, specs = field.partition(".")[0], asked(field, BEYOND[field])
    if field not in engine.limits:
        with contextlib.suppress(Unavailable):  # what the cluster lacks is another matter
            engine.check(*specs.values())
        return
    with pytest.raises(InvalidParameter) as judged:
        engine.judge(*specs.values())
    with pytest.raises(InvalidParameter) as checked:
        engine.check(*specs.values())
    verb: Callable[[Any], object] = getattr(engine, stage)
    with pytest.raises(InvalidParameter) as refused:
        verb(specs[stage])
    assert judged.value.name == checked.value.name == refused.value.name == field
    assert engine.name in str(refused.value)
    assert list(volume.root().iterdir()) == []


def test_what_every_engine_has_passes(engine: Engine) -> None:
    engine.check(tuning(), training(), plain())


def asked(field: str, change: dict[str, Any]) -> dict[str, Any]:
    """Make the specs of all stages, the one of the field changed."""
    stage = field.partition(".")[0]
    specs: dict[str, Any] = {"tune": tuning(), "train": training(), "serve": plain()}
    return {**specs, stage: dataclasses.replace(specs[stage], **change)}


def plain() -> ServeSpec:
    return serving(ModelRef("/models/m/one"))
