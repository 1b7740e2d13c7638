"""The code of the documents runs: each page's commands in one shell, one after the other, and its Python.

A command that only a cluster, a registry or a package index could carry out is read and judged by a stand-in
(tests/docs/stand_in.py). The Korean pages have the same code (test_korean.py).
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.docs import pages, shell, stand_in
from tests.images.test_trainers import torch_python
from tests.pipelines.api import Api

pytestmark = [pytest.mark.docs, pytest.mark.timeout(600)]

NOT_RUN = {
    ("docs/retrain.md", "ini"): "systemd's; a oneshot service of the user's",
    ("docs/architecture.md", ""): "a drawing",
}
LANGUAGES = {"sh", "python", "json", "yaml", "ini", "text", ""}
ENGLISH = [page for page in pages.PAGES if page not in pages.KOREAN]


def with_code(language: str) -> list[Path]:
    return [page for page in ENGLISH if any(each.language == language for each in pages.blocks(page.read_text()))]


@pytest.mark.parametrize("page", with_code("sh"), ids=pages.name)
def test_commands_run_in_their_order(page: Path, checkout: Path, api: Api) -> None:
    torch = torch_python()
    if page.parent.name == "pytorch-trainer" and not torch:
        pytest.skip("no PyTorch here")
    code, output = shell.run(_served(page) + _script(page), checkout, api)
    assert code == 0, output


def test_the_readme_started_again_on_the_volume_that_it_has_used(checkout: Path, api: Api) -> None:
    script = _script(pages.ROOT / "README.md")
    for attempt in ("first", "second"):
        code, output = shell.run(script, checkout, api)
        assert code == 0, f"{attempt}: {output}"
    assert "has ended already; nothing was changed" in output


def _script(page: Path) -> str:
    return "\n".join(each.text for each in pages.blocks(page.read_text()) if each.language == "sh")


def _served(page: Path) -> str:
    """Begin with a served model where a page asks one that it has not made itself."""
    asks_first = {"docs/demo.md", "docs/serving.md", "docs/tutorial.md"}
    first = "hyperflow run --run-id before\nhyperflow serve volume/models/fashion-mnist/before --background\n"
    return first if pages.name(page) in asks_first else ""


@pytest.mark.parametrize("page", with_code("python"), ids=pages.name)
def test_python_runs_and_prints_what_stands_below_it(page: Path) -> None:
    found, names = pages.blocks(page.read_text()), {}
    for block, after in zip(found, [*found[1:], pages.Block("sh", "")], strict=True):
        if block.language != "python" or "…" in block.text:
            continue  # an ellipsis stands for what the reader has: tests/pipelines/test_recurring.py makes that call
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(block.text, pages.name(page), "exec"), names)
        if after.language in ("", "text") and said.getvalue():
            assert said.getvalue() == after.text


@pytest.mark.parametrize("page", ENGLISH, ids=pages.name)
def test_commands_that_are_only_shown_are_ones_that_there_are(page: Path) -> None:
    """Commands in sentences, and in blocks that show a server's or a person's part too."""
    commands = stand_in.commands()
    for command in _shown(page.read_text(encoding="utf-8")):
        program, *words = shlex.split(command)
        if program == "make":
            stand_in.make(words)
        if program == "hyperflow" and words[0] not in ("COMMAND", "--help", "--version"):
            options = {option for each in commands[words[0]].params for option in each.opts}
            assert {word for word in words if word.startswith("--")} <= options, command
        files = [word for word in words if word.startswith(("tests/", "manifests/"))]
        assert all((pages.ROOT / file).exists() for file in files), command


def _shown(text: str) -> list[str]:
    """Return the commands of a page that stand in no block of commands."""
    spans = re.findall(r"`([^`\n]+)`", pages.prose(text, code=True))
    blocks = [line for each in pages.blocks(text) if each.language == "text" for line in each.text.splitlines()]
    indented = re.findall(r"^    (\S.*)$", pages.prose(text, code=True), re.MULTILINE)
    lines = [re.sub(r"\s+#.*$", "", line.removeprefix("$ ")) for line in (*spans, *blocks, *indented)]
    bare = [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line) for line in lines]
    return [line for line in bare if re.match(r"(hyperflow|make|pytest|kubectl) [\w-]", line)]


def test_data_in_the_documents_can_be_read() -> None:
    for page in ENGLISH:
        for block in pages.blocks(page.read_text()):
            assert block.language in LANGUAGES, (page, block.language)
            if block.language == "json":
                json.loads(block.text)
            elif block.language == "yaml":
                yaml.safe_load(block.text)
