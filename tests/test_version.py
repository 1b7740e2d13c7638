"""One version: the package's, which the command line prints, the compiled YAML and the manifests name."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from typer.testing import CliRunner

import components
from hyperflow import __version__
from hyperflow.cli import app

ROOT = Path(__file__).parents[1]
IMAGE = re.compile(r"hyperflow-(?:steps|model|serve|demo|local|model-cuda):(\d[\w.-]*)")
PLACES = ("*.md", "docs/**/*.md", "examples/**/*", "manifests/**/*.yaml", "images/*", "build/**/*.yaml")


def test_the_command_line_prints_it() -> None:
    assert CliRunner().invoke(app, ["--version"]).output.strip() == __version__


def test_the_compiled_yaml_names_images_of_it() -> None:
    assert f"hyperflow-steps:{__version__}" == components.IMAGE
    pipeline = (ROOT / "build" / "train_and_serve.yaml").read_text()
    assert set(IMAGE.findall(pipeline)) == {__version__}


def test_manifests_and_documents_name_images_of_it() -> None:
    texts = {path: path.read_text() for each in PLACES for path in ROOT.glob(each) if path.is_file()}
    other = {path: set(IMAGE.findall(text)) - {__version__} for path, text in texts.items()}
    assert not {path: found for path, found in other.items() if found}
    for path in ROOT.glob("manifests/**/kustomization.yaml"):
        for image in yaml.safe_load(path.read_text()).get("images", []):
            assert image["newTag"] == __version__, path


def test_the_change_log_begins_with_it() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == __version__


def test_before_a_commit_runs_what_make_check_runs() -> None:
    """Each part of `make check` is a hook, and no hook is anything else."""
    (goals,) = re.findall(r"^check: ([^#]*?) ##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {hook["entry"] for hook in repository["hooks"]} == {f"make {goal}" for goal in goals.split()}
