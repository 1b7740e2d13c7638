"""The Korean pages say what the English ones say: the same structure, code, pictures, links and figures."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs import pages

BOTH = pytest.mark.parametrize(("korean", "english"), pages.KOREAN.items(), ids=pages.name)
SPELT = {"십": "ten", "하나": "one"}


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@BOTH
def test_headings_have_the_same_order_and_rank(korean: Path, english: Path) -> None:
    assert [rank for rank, _ in pages.headings(read(korean))] == [rank for rank, _ in pages.headings(read(english))]


@BOTH
def test_code_is_the_same_but_for_its_comments(korean: Path, english: Path) -> None:
    assert [code(block) for block in pages.blocks(read(korean))] == [
        code(block) for block in pages.blocks(read(english))
    ]


def code(block: pages.Block) -> tuple[str, str]:
    lines = (re.sub(r"\s+# .*$", "", line) for line in block.text.splitlines())
    return block.language, "\n".join(line.rstrip() for line in lines)


@BOTH
def test_pictures_and_links_are_the_same(korean: Path, english: Path) -> None:
    """A link leads to the Korean page where there is one; anchors on a Korean page have other words."""
    translated = {pages.name(theirs): pages.name(ours) for ours, theirs in pages.KOREAN.items()}

    def places(page: Path) -> Counter[tuple[bool, str]]:
        found: Counter[tuple[bool, str]] = Counter()
        for link in pages.links(read(page)):
            if link.target.startswith("#") or re.match(r"\w+:", link.target):
                found[link.picture, "" if link.target.startswith("#") else link.target] += 1
                continue
            place, _, anchor = link.target.partition("#")
            target = pages.name((page.parent / place).resolve())
            if {page, page.parent / place} == {korean, english}:
                continue  # from one language to the other
            found[link.picture, f"{translated.get(target, target)}#{anchor}"] += 1
        return found

    assert places(korean) == places(english)


@BOTH
def test_tables_have_the_same_rows_and_columns(korean: Path, english: Path) -> None:
    def shape(page: Path) -> list[int]:
        return [line.count(" |") for line in read(page).splitlines() if line.startswith("|")]

    assert shape(korean) == shape(english)


@BOTH
def test_figures_are_the_same_in_each_section(korean: Path, english: Path) -> None:
    assert [figures(each) for each in sections(korean)] == [figures(each) for each in sections(english)]


def sections(page: Path) -> list[str]:
    return re.split(r"^#+ .*$", pages.prose(read(page)), flags=re.MULTILINE)


def figures(text: str) -> Counter[str]:
    """Return the numbers of a text; those in links are compared elsewhere, and words with digits are names."""
    plain = re.sub(r"\]\([^)]*\)", "]", text)
    return Counter(re.findall(r"(?<![\w.-])\d[\d,.]*\d|(?<![\w.-])\d", plain))


@BOTH
def test_terms_have_their_english_word_at_first_use(korean: Path, english: Path) -> None:
    """A term of the field in Korean is followed by the English one in brackets where it first comes."""
    text = read(korean)
    for term, word in (
        ("하이퍼파라미터", "hyper-parameter"),
        ("게이트", "gate"),
        ("리퍼", "reaper"),
        ("네임스페이스", "namespace"),
    ):
        if term in text and english.name == "README.md":
            assert re.search(rf"{term}\(?\*?\({word}\)|{term}\({word}\)", text), term
