"""What this machine has not got, which another engine may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperflow import volume
from hyperflow.engines.local import LocalEngine
from hyperflow.engines.local.service import Failure, Records, Service
from hyperflow.errors import InvalidParameter
from hyperflow.specs import Algorithm, Dimension, ModelRef
from hyperflow.volume import paths
from tests.conformance.test_check import BEYOND, asked
from tests.conformance.test_engine import X


@pytest.fixture(autouse=True)
def _volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))


@pytest.mark.parametrize("field", BEYOND)
def test_nothing_is_passed_over(field: str) -> None:
    with pytest.raises(InvalidParameter, match="local engine has nothing else") as refused:
        LocalEngine().check(*asked(field, BEYOND[field]).values())
    assert refused.value.name == field


def test_setting_that_no_sampler_takes_is_refused_before_anything_is_made() -> None:
    space = (X, Dimension("k", "int", 1, 3))
    specs = asked("tune", {"algorithm": Algorithm("cmaes", {"restart_strategy": "ipop"}), "search_space": space})
    for verb in (lambda: LocalEngine().check(*specs.values()), lambda: LocalEngine().tune(specs["tune"])):
        with pytest.raises(InvalidParameter, match="none: our own search has nothing else") as refused:
            verb()
        assert refused.value.name == "algorithm_settings[restart_strategy]"
    assert list(volume.root().iterdir()) == []


def test_fault_is_that_of_the_first_deployment_as_it_was_written_down() -> None:
    engine, records = LocalEngine(), Records(paths.services())
    assert engine.fault("m") == ""
    records.write(Service("m", port=8080, failed=Failure("it did not start", ModelRef("/models/m/one"), "/the/log")))
    assert engine.fault("m") == "its first deployment failed: it did not start; the log is /the/log"
    assert engine.serving("m") is None
    assert engine.stop() == []
