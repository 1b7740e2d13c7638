"""A volume for each test, and a word on what had to be left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperflow import volume
from tests.cluster.binaries import KATIB, by_reason, default_cache, missing
from tests.cluster.external import Target, external_cluster
from tests.cluster.modules import NEEDED
from tests.cluster.world import World, cluster_world


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the volume's folder."""
    folder = tmp_path / "volume"
    folder.mkdir()
    monkeypatch.setenv(volume.ENVIRONMENT, str(folder))
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    return folder


@pytest.fixture
def world(root: Path, tmp_path: Path) -> Iterator[World]:
    """Give a namespace of a real cluster, and the engine in it."""
    with cluster_world(tmp_path) as made:
        yield made


@pytest.fixture
def idle_world(root: Path, tmp_path: Path) -> Iterator[World]:
    """Give a namespace whose pods stay Pending and whose Experiments nobody takes up."""
    with cluster_world(tmp_path, run_pods=False) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which binaries were not there, so that nobody takes what was skipped for tested."""
    if config.option.markexpr != "cluster":
        return
    external = external_cluster()
    asked = external.api.host if isinstance(external, Target) else f"our own control plane; KUBECONFIG: {external}"
    terminalreporter.section("LEFT OUT")
    for line in (f"asked what it admits: {asked}", *_left_out(missing(default_cache()))):
        terminalreporter.line(line)


def _left_out(absent: dict[str, str]) -> Iterator[str]:
    for why, names in by_reason(absent).items():
        yield f"not here: {', '.join(names)}: {why}"
    if set(absent) & {*NEEDED, *KATIB}:
        yield "ALL TESTS THAT NEED THEM WERE SKIPPED"
