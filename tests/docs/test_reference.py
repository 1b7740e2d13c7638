"""The reference pages are what the code says, and every error leads to an entry of theirs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import reference
from hyperflow import datasets
from hyperflow.cli.submitting import When
from hyperflow.engines.local.servers import Server
from hyperflow.errors import DOCUMENTATION, HyperflowError, anchor
from hyperflow.parameters import TABLE, Parameters
from hyperflow.serving.folder import newest_version
from hyperflow.specs import ModelRef
from hyperflow.translation import judge
from tests.docs import pages

ERRORS = pages.ROOT / "docs" / "reference" / "errors.md"


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return reference.pages()


def test_the_pages_are_current(written: dict[str, str]) -> None:
    drifted = {name for name, text in written.items() if (reference.PAGES / name).read_text(encoding="utf-8") != text}
    assert not drifted, "run `python reference.py`"
    assert {path.name for path in reference.PAGES.iterdir()} == set(written)


def test_every_parameter_has_an_entry_with_its_meaning(written: dict[str, str]) -> None:
    assert set(TABLE) <= pages.anchors(written["parameters.md"])
    assert "Read by" in written["parameters.md"].partition("## `epochs`")[2].partition("##")[0]


FAILURES: dict[str, Callable[[Path], object]] = {
    "a class's own check": lambda _: ModelRef("relative"),
    "a check of a class with a rule": lambda _: When("0 0 3 * * *", "6h"),
    "a function": lambda folder: newest_version(folder / "none"),
    "a function that others call": lambda folder: datasets.load(str(folder), "none"),
    "a renamed parameter": lambda _: judge(Parameters.complete({"serving_runtime": "none"})),
    "a rule of the table": lambda _: judge(Parameters.complete({"epochs": -1})),
}


@pytest.mark.parametrize("name", FAILURES)
def test_an_error_names_its_entry(tmp_path: Path, name: str) -> None:
    with pytest.raises(HyperflowError) as failure:
        FAILURES[name](tmp_path)
    page, _, entry = failure.value.address.partition("#")
    assert (pages.ROOT / page) == ERRORS
    assert entry in pages.anchors(ERRORS.read_text(encoding="utf-8")), failure.value.origin
    assert failure.value.told.endswith(f"\n  see: {failure.value.address}")


def test_the_address_can_be_that_of_a_published_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DOCUMENTATION, "https://docs.example.org/hyperflow/")
    with pytest.raises(HyperflowError) as failure:
        newest_version(tmp_path / "none")
    assert failure.value.address == (
        f"https://docs.example.org/hyperflow/reference/errors/#{anchor('serving.folder.newest_version')}"
    )


def test_an_error_of_others_names_none() -> None:
    assert HyperflowError("made here").told == "made here"


def test_the_command_line_prints_the_address(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hyperflow", "serve", str(tmp_path), "--folder", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    *_, last = ended.stderr.strip().splitlines()
    assert last == "  see: docs/reference/errors.md#climodelsserve"
    assert "climodelsserve" in pages.anchors(ERRORS.read_text(encoding="utf-8"))


def test_what_a_message_says_is_in_its_entry() -> None:
    text = ERRORS.read_text(encoding="utf-8")
    entry = text.partition("### `serving.folder.newest_version`")[2].partition("###")[0]
    assert "has no folder named by a number" in entry
    assert "remedy: give the folder above the version folder" in entry
    assert Server.__module__.removeprefix("hyperflow.") in text


def test_no_two_entries_have_one_anchor() -> None:
    """The second of two equal anchors gets a number on the page, which a message cannot know."""
    assert not {each for each in pages.anchors(ERRORS.read_text(encoding="utf-8")) if re.search(r"-\d$", each)}
