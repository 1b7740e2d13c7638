"""The compiled YAML against the protos of every KFP release that we name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipelines import released

ROOT = Path(__file__).parents[2]
STATED_FROM = "2.16"
"""The first release whose steps can have a security context."""


@pytest.fixture(scope="module", params=released.RELEASES)
def release(request: pytest.FixtureRequest) -> tuple[str, Path]:
    try:
        return request.param, released.fetch(request.param)
    except released.Unreachable as error:
        pytest.skip(f"NOT PARSED: {error}")


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("restricted")
    command = [sys.executable, "compile.py", "--kfp", STATED_FROM, "--output", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder


def files(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.yaml"))
    assert len(found) >= 10
    return found


def minor(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def test_five_releases_are_pinned() -> None:
    assert [minor(each) for each in released.RELEASES] == [(2, 5), (2, 14), (2, 15), (2, 16), (2, 17)]


def test_every_file_in_build_is_taken(release: tuple[str, Path]) -> None:
    assert released.refusals(release[1], files(ROOT / "build")) == {}


def test_a_field_that_a_release_has_not_is_refused(release: tuple[str, Path], restricted: Path) -> None:
    version, protos = release
    refused = released.refusals(protos, files(restricted))
    if minor(version) >= minor(STATED_FROM):
        assert refused == {}
    else:
        assert {Path(name).stem for name in refused} == {"train_and_serve", "retrain"}
        assert all("securityContext" in why for why in refused.values())


@pytest.mark.parametrize("name", ["train_and_serve", "retrain"])
def test_every_step_states_its_user_where_the_server_takes_it(restricted: Path, name: str) -> None:
    _, platform = yaml.safe_load_all((restricted / f"{name}.yaml").read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for executor in executors.values():
        assert executor["securityContext"] == {"runAsUser": "1000", "runAsGroup": "1000", "runAsNonRoot": True}


def test_a_run_stays_a_week_where_the_server_takes_that(tmp_path: Path) -> None:
    command = [sys.executable, "compile.py", "--kfp", "2.17", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    for name in ("train_and_serve", "retrain"):
        _, platform = yaml.safe_load_all((tmp_path / f"{name}.yaml").read_text())
        assert platform["platforms"]["kubernetes"]["pipelineConfig"] == {"resourceTtlOnCompletion": 7 * 24 * 3600}
    for version in released.RELEASES:
        try:
            refused = released.refusals(released.fetch(version), sorted(tmp_path.glob("*.yaml")))
        except released.Unreachable as error:
            pytest.skip(f"NOT PARSED: {error}")
        assert bool(refused) == (minor(version) < (2, 17))


def test_a_server_that_was_never_tried_is_refused() -> None:
    command = [sys.executable, "compile.py", "--kfp", "2.3"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "2.14" in ended.stderr
