"""The site builds without a warning, has all pages, and asks nobody for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import pages

pytestmark = pytest.mark.docs


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # Material's word on its end of life: docs/decisions/site.md
    built = subprocess.run(command, cwd=pages.ROOT, env=quiet, capture_output=True, text=True, timeout=240, check=False)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def test_every_page_is_there_and_the_repositorys_own_below_project(site: Path) -> None:
    for page in (pages.ROOT / "docs").rglob("*.md"):
        place = page.relative_to(pages.ROOT / "docs").with_suffix("")
        place = place.parent if place.name in ("index", "README") else place
        assert (site / place / "index.html").exists(), place
    for place in ("project", "project/README.ko", "project/CONTRIBUTING", "project/examples/own-trainer", "notebook"):
        assert (site / place / "index.html").exists(), place


def test_the_menu_has_each_page_of_the_navigation_and_no_program_is_published(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    for title, target in re.findall(r"- ([^:\n]+): (\S+)\.md", (pages.ROOT / "mkdocs.yml").read_text(encoding="utf-8")):
        place = re.sub(r"(^|/)(index|README)$", "", target)
        link = re.search(rf'<a href="(?:\./)?{re.escape(place)}/?" class="md-nav__link[^>]*>(.*?)</a>', page, re.DOTALL)
        assert title == "Home" or (link and title in link[1]), title
    assert not list(site.rglob("*.py"))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = re.compile(r"""<(?:script|img|link(?![^>]*rel="?canonical))[^>]*(?:src|href)=["']?(https?:)?//""")
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page
    assert "http" not in (site / "assets" / "site.css").read_text()


def test_a_links_target_outside_the_documents_is_on_the_site(site: Path) -> None:
    page = (site / "own-trainer" / "index.html").read_text(encoding="utf-8")
    assert 'href="../project/examples/own-trainer/"' in page


def test_an_errors_address_is_on_the_page(site: Path) -> None:
    page = (site / "reference" / "errors" / "index.html").read_text(encoding="utf-8")
    assert 'id="servingfoldernewest_version"' in page


def test_a_korean_heading_has_an_anchor(site: Path) -> None:
    page = (site / "tutorial.ko" / "index.html").read_text(encoding="utf-8")
    assert 'id="0단계-네임스페이스와-클레임"' in page
    assert 'href="#0단계-네임스페이스와-클레임"' in page


def test_the_notebooks_plots_are_on_its_page(site: Path) -> None:
    page = (site / "notebook" / "index.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') >= 4
