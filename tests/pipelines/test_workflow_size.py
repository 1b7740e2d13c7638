"""How large a finished run's Workflow gets: above 1 MiB Argo compresses its nodes, and KFP shows no details of them."""

from __future__ import annotations

import pytest

from tests.kfp.compiler import Compiler, load
from tests.kfp.driver import drive
from tests.kfp.play import finished, size

LIMIT, ARGOS_LIMIT = 600_000, 2**20
"""Bytes; what lies between is for parameters that are longer than the defaults, and for further attempts."""


SKIPPED = {"train_and_serve": (), "retrain": ("condition-1",)}
"""What does not run although all else does: a renewal tunes first, or it does not."""


@pytest.mark.parametrize("name", SKIPPED)
def test_finished_workflow_is_far_below_argos_limit(name: str) -> None:
    specification, platform = load(name)
    workflow = Compiler(specification, platform).workflow(f"{name.replace('_', '-')}-abcde", "0" * 36, "default-editor")
    drivers = drive(name, specification, platform)
    assert size(finished(workflow, drivers, SKIPPED[name])) < LIMIT
    assert size(finished(workflow, drivers, SKIPPED[name], attempts=3)) < ARGOS_LIMIT


@pytest.mark.parametrize("name", SKIPPED)
def test_no_program_carries_its_description(name: str) -> None:
    """Each is repeated six times in a finished Workflow, and each component's definition five times."""
    specification, _ = load(name)
    for executor in specification["deploymentSpec"]["executors"].values():
        assert '"""' not in executor["container"]["command"][-1]
    for component in specification["components"].values():
        for entry in component.get("inputDefinitions", {}).get("parameters", {}).values():
            assert "description" not in entry
    described = specification["root"]["inputDefinitions"]["parameters"].values()
    assert all(entry["description"] for entry in described)
