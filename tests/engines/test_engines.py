"""An engine is chosen by name, or by where this process runs."""

from __future__ import annotations

import pytest

from hyperflow import engines
from hyperflow.errors import InvalidParameter


@pytest.mark.parametrize(
    ("named", "inside", "chosen"),
    [("", False, "local"), ("", True, "kubeflow"), ("local", True, "local"), ("kubeflow", False, "kubeflow")],
)
def test_engine_is_the_named_one_or_that_of_the_place(
    named: str, inside: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERFLOW_ENGINE", named)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    if inside:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert engines.engine_name() == chosen


def test_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERFLOW_ENGINE", "slurm")
    with pytest.raises(InvalidParameter, match="kubeflow or local"):
        engines.get_engine()
