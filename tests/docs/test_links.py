"""Links of the documents lead somewhere: files, folders and anchors within the repository, as GitHub reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import pages


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = []
    for link in pages.links(page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", link.target):
            continue
        place, _, anchor = link.target.partition("#")
        target = (page.parent / place).resolve() if place else page
        has = (
            not target.exists()
            or not anchor
            or target.suffix != ".md"
            or anchor in pages.anchors(target.read_text(encoding="utf-8"))
        )
        if not target.exists() or not has:
            missing.append(link.target)
    assert not missing


def test_pictures_are_small() -> None:
    files = [path for path in (pages.ROOT / "docs").rglob("*") if path.suffix in (".png", ".svg", ".woff2")]
    assert files
    assert not {str(path): path.stat().st_size for path in files if path.stat().st_size > 300_000}


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_tables_are_whole(page: Path) -> None:
    """A blank line splits a table: the rows after it are then plain text."""
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"^\|.*\|\n\n+\|(?!.*\|\n\|[ :|-]+\|\n).*\|$", text, re.MULTILINE)


def test_addresses_on_the_web_are_https() -> None:
    plain = {
        (pages.name(page), link.target)
        for page in pages.PAGES
        for link in pages.links(page.read_text(encoding="utf-8"))
        if link.target.startswith("http:")
    }
    assert not plain
