"""docs/compatibility.md: the versions that it names are those that the tests have, and its commands are there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cluster import modules
from tests.pipelines import released

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compatibility.md").read_text()


def row(component: str) -> str:
    """Return a component's first row."""
    return next(line for line in PAGE.splitlines() if line.startswith(f"| {component} |"))


def test_the_components_that_run_are_those_of_the_cluster_tests() -> None:
    for component, version in (
        ("Kubernetes", modules.KUBERNETES),
        ("Training Operator", modules.TRAINING_OPERATOR),
        ("Katib", modules.KATIB),
        ("KServe, Standard mode", modules.KSERVE),
    ):
        assert f"| {version} |" in row(component)


def test_each_release_whose_protos_are_pinned_is_named() -> None:
    assert all(version in PAGE for version in released.RELEASES)


def test_the_commands_name_tests_that_are_there() -> None:
    named = re.findall(r"tests/[\w/]+\.py", PAGE)
    assert len(named) >= 6
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_cell_of_the_platforms_says_how_it_is_known() -> None:
    table = PAGE.split("## Platforms")[1].split("\n\n")[1]
    for line in table.splitlines()[3:]:
        _, *cells = line.strip("|").split("|")
        for cell in cells:
            assert re.search(r"run|parsed|read|refused|not there|as 1\.11", cell), line
