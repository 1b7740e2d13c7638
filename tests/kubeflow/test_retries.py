"""Preflight on how Argo's administrator lets steps be retried."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hyperflow.engines.kubeflow import KubeflowEngine, preflight
from hyperflow.engines.kubeflow.preflight.retries import NAME, NAMESPACE
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.specs import serving, training, tuning

PATCH = Path(__file__).parents[2] / "manifests" / "admin" / "retry-failed-steps.yaml"
STOCK = """
spec:
  ttlStrategy: {secondsAfterCompletion: 3600}
  templateDefaults:
    retryStrategy: {limit: "2", retryPolicy: OnError}
"""


def judged(engine: KubeflowEngine) -> preflight.Check:
    checks = {check.name: check for check in engine.survey(tuning(), training(), serving())}
    return checks["retried steps"]


def configure(emulator: Emulator, **data: str) -> None:
    emulator.store.create(("", "configmaps"), NAMESPACE, {"metadata": {"name": NAME}, "data": data})


def test_kfps_own_configuration_is_warned_of(emulator: Emulator, engine: KubeflowEngine) -> None:
    configure(emulator, workflowDefaults=STOCK)
    check = judged(engine)
    assert (check.status, "OnError" in check.found, "3600 s" in check.found) == ("warn", True, True)
    assert str(PATCH.relative_to(Path(__file__).parents[2])) in check.remedy


def test_older_configuration_in_one_text_is_read(emulator: Emulator, engine: KubeflowEngine) -> None:
    configure(emulator, config=yaml.safe_dump({"workflowDefaults": yaml.safe_load(STOCK)}))
    assert judged(engine).status == "warn"


def test_our_patch_leaves_nothing_to_mend(emulator: Emulator, engine: KubeflowEngine) -> None:
    configure(emulator, **yaml.safe_load(PATCH.read_text())["data"])
    check = judged(engine)
    assert (check.status, "Always" in check.found) == ("ok", True)


@pytest.mark.parametrize("text", ["", "spec: {}", "- a list", "{broken"])
def test_configuration_without_a_policy_is_as_the_pipelines_ask(
    emulator: Emulator, engine: KubeflowEngine, text: str
) -> None:
    configure(emulator, workflowDefaults=text)
    assert judged(engine).status == "ok"


def test_who_may_not_read_it_is_told_so(emulator: Emulator, engine: KubeflowEngine) -> None:
    emulator.denied.add(("get", "configmaps"))
    check = judged(engine)
    assert (check.status, "cannot be read" in check.found) == ("ok", True)
