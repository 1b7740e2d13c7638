"""Every place on the volume is under its root, and no two are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperflow.volume import ENVIRONMENT, MOUNT_PATH, paths


def places() -> list[Path]:
    of_a_run = [
        paths.run_path, paths.run_lock, paths.run_log, paths.run_summary, paths.run_report, paths.step_records,
        paths.tuning, paths.training, paths.taken_back,
    ]  # fmt: skip
    of_a_model = [paths.models, paths.gone_live, paths.lease, paths.lease_lock, paths.traffic]
    return [
        *(place("one") for place in of_a_run), *(place("one") for place in of_a_model), paths.all_runs(),
        paths.all_models(), paths.services(), paths.dataset_states("one"), paths.data_path("one", "two"),
        paths.model_path("one", "two"), paths.service_log("one", "two"),
    ]  # fmt: skip


def test_root_is_the_environments_or_where_pods_mount_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given, root in (("", Path(MOUNT_PATH)), ("relative", tmp_path / "relative"), ("/absolute", Path("/absolute"))):
        monkeypatch.setenv(ENVIRONMENT, given)
        assert paths.root() == root


def test_places_are_under_the_root_and_all_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    found = places()
    assert all(path.is_relative_to(tmp_path) and path != tmp_path for path in found)
    assert len(set(found)) == len(found)


def test_training_is_named_as_another_process_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    here = paths.training("one").relative_to(tmp_path)
    assert paths.training("one", Path(MOUNT_PATH)) == Path(MOUNT_PATH) / here
