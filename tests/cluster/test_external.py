"""`KUBECONFIG=… make cluster-test`: somebody's own cluster is asked, from a machine where nothing is built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.test_admission import GOLDEN
from tests.cluster.world import KSERVE, OPERATOR, machinery, need

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
OTHERS = 13
"""Tests in test_admission.py beside those of the golden objects; test_training.py has one."""


def run_tests(kubeconfig: Path, empty: Path, *chosen: str) -> str:
    """Run chosen tests in a process that has a KUBECONFIG and no binaries; return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "cluster", "-p", "no:cacheprovider", *chosen],
        cwd=ROOT,
        env={**_own_environment(), "KUBECONFIG": str(kubeconfig), "XDG_CACHE_HOME": str(empty)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_cluster_of_kubeconfig_is_asked_what_it_admits(tmp_path: Path) -> None:
    need(OPERATOR, KSERVE)
    cluster = machinery().cluster
    said = run_tests(cluster.kubeconfig, tmp_path, "tests/cluster/test_admission.py", "tests/cluster/test_training.py")
    without = 4  # need Katib, or run pods
    assert f"{len(GOLDEN) + OTHERS + 1 - without} passed, {without} skipped" in said
    assert f"asked what it admits: {cluster.url}" in said


def test_without_binaries_and_with_a_cluster_that_is_away_all_is_left_out(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: away, clusters: [{name: away, cluster: "
        "{server: 'http://127.0.0.1:9'}}], contexts: [{name: away, context: {cluster: away, user: nobody}}]}"
    )
    said = run_tests(kubeconfig, tmp_path, "tests/cluster/test_admission.py")
    assert f"{len(GOLDEN) + OTHERS} skipped" in said
    assert "Connection refused" in said
    assert "not here: etcd, kube-apiserver" in said


def _own_environment() -> dict[str, str]:
    """Drop what xdist and an outer pytest left there for their own processes."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
