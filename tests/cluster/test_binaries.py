"""The build of the binaries, without the minutes that it takes."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from tests.cluster import binaries, database, services
from tests.cluster.modules import STAGING, Binary, Module

TARGET = '"$8"'
"""The file that `go build` is told to write, in a script that stands in for it."""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `go` on PATH whose script the test writes."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "go"


def _write_script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(("#!/bin/sh", *lines)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_go_mod_replaces_folders_of_the_repository_by_their_releases() -> None:
    module = Module("k8s.io/kubernetes", "1.34.4", ())
    replace = {"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}}
    upstream = {"Go": "1.24.0", "Replace": [replace]}
    assert binaries._go_mod(module, upstream).splitlines() == [
        "module hyperflow.test/kubernetes",
        "",
        "go 1.24.0",
        "",
        "require k8s.io/kubernetes v1.34.4",
        "",
        f"replace k8s.io/api => k8s.io/api {STAGING}",
    ]


def test_go_mod_keeps_replacements_that_name_a_release() -> None:
    new = {"Path": "google.golang.org/grpc", "Version": "v1.79.3"}
    upstream = {"Go": "1.25.8", "Replace": [{"Old": {"Path": "google.golang.org/grpc"}, "New": new}]}
    text = binaries._go_mod(Module("github.com/kserve/kserve", "0.20.0", ()), upstream)
    assert "replace google.golang.org/grpc => google.golang.org/grpc v1.79.3" in text


def test_a_build_that_fails_leaves_no_binary_and_says_the_compilers_last_word(tmp_path: Path, go: Path) -> None:
    _write_script(go, f"echo half > {TARGET}", "echo cannot find package >&2", "exit 1")
    with pytest.raises(binaries.BuildError, match="cannot find package"):
        binaries._build(Binary("server", "example.test/server", 1), tmp_path, tmp_path, time.monotonic() + 10)
    assert binaries.find("server", tmp_path) is None


def test_a_build_that_takes_too_long_is_ended_with_its_children(tmp_path: Path, go: Path) -> None:
    _write_script(go, f"sleep 60 & echo $! > {tmp_path / 'child'}", "wait")
    started = time.monotonic()
    with pytest.raises(binaries.BuildError, match="not done within its time"):
        binaries._build(Binary("server", "example.test/server", 1), tmp_path, tmp_path, started + 1)
    assert time.monotonic() - started < 10
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "status"
    deadline = time.monotonic() + 5
    while child.exists() and "zombie" not in child.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists() or "zombie" in child.read_text()


def test_a_finished_build_is_executable_and_whole(tmp_path: Path, go: Path) -> None:
    _write_script(go, f'cp "$0" {TARGET}')
    binaries._build(Binary("server", "example.test/server", 1), tmp_path, tmp_path, time.monotonic() + 10)
    assert binaries.find("server", tmp_path) == tmp_path / "bin" / "server"
    assert [path.name for path in (tmp_path / "bin").iterdir()] == ["server"]


def test_envtest_assets_are_taken_before_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("assets", "cache/bin"):
        for name in ("etcd", "kserve-controller"):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_script(path)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert binaries.find("etcd", tmp_path / "cache") == tmp_path / "assets" / "etcd"
    assert binaries.find("kserve-controller", tmp_path / "cache") == tmp_path / "cache" / "bin" / "kserve-controller"


def test_a_major_version_names_no_module() -> None:
    assert Module("github.com/argoproj/argo-workflows/v4", "4.0.5", ()).name == "argo-workflows"
    assert Module("k8s.io/kubernetes", "1.34.4", ()).name == "kubernetes"


def test_module_with_links_is_built_from_a_copy_that_has_them(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    (archive / "executor").mkdir(parents=True)
    (archive / "executor" / "signal_darwin.go").write_text("package executor\n")
    links = (("executor/signal_linux.go", "signal_darwin.go"),)
    module = Module("example.test/flows/v4", "4.0.5", (), links=links)
    binaries._copy_source(module, archive, tmp_path / "source")
    assert (tmp_path / "source" / "executor" / "signal_linux.go").read_text() == "package executor\n"
    assert list((archive / "executor").iterdir()) == [archive / "executor" / "signal_darwin.go"]
    assert "replace example.test/flows/v4 => ./source" in binaries._go_mod(module, {"Go": "1.25.7"})


@pytest.mark.cluster
def test_services_whose_packages_cannot_be_had_leave_no_program_and_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text(f"{tmp_path}/nothing-1-py3-none-any.whl --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(services, "REQUIREMENTS", wanted)
    with pytest.raises(services.ServicesError, match="nothing-1"):
        services.build(tmp_path, tmp_path / "cache", time.monotonic() + 60)
    assert binaries.find(services.NAME, tmp_path / "cache") is None


def test_katib_is_missing_where_its_database_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database.NAME in binaries.KATIB
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(database, "_FOLDERS", str(tmp_path))
    assert "Debian's package: postgresql" in binaries.missing(tmp_path)[database.NAME]


def test_newest_database_of_the_distribution_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(database, "_FOLDERS", str(tmp_path))
    for version in ("9.6", "17", "15"):
        (tmp_path / version / "bin").mkdir(parents=True)
        _write_script(tmp_path / version / "bin" / "postgres")
    assert database.program("postgres") == tmp_path / "17" / "bin" / "postgres"


def test_services_without_their_files_are_built_anew(tmp_path: Path) -> None:
    program = tmp_path / "bin" / services.NAME
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert binaries.find(services.NAME, tmp_path) is None
    (services.folder(tmp_path) / "manifests").mkdir(parents=True)
    assert binaries.find(services.NAME, tmp_path) == program
    program.write_text(f"#!{tmp_path}/an environment that has gone/bin/python\n")
    assert binaries.find(services.NAME, tmp_path) is None
