"""The documents: what is in them, as GitHub and the site both read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    sorted(
        path
        for pattern in ("*.md", "docs/**/*.md", "examples/*/README.md", ".github/*.md")
        for path in ROOT.glob(pattern)
    )
)
KOREAN = {ROOT / "README.ko.md": ROOT / "README.md", ROOT / "docs" / "tutorial.ko.md": ROOT / "docs" / "tutorial.md"}

_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A code block: its language, and its lines without the indentation of a list that it stands in."""

    language: str
    text: str


@dataclass(frozen=True)
class Step:
    """A command that is shown after a `$`, and the lines that it prints."""

    command: str
    prints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """What a page links to or shows."""

    picture: bool
    target: str


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str) -> list[Block]:
    return [
        Block(kind, re.sub(f"^{indent}", "", body, flags=re.MULTILINE)) for indent, kind, body in _BLOCK.findall(text)
    ]


def sessions(text: str) -> list[list[Step]]:
    """Return the blocks that show what somebody types and sees."""
    shown = [each.text for each in blocks(text) if each.language == "text" and each.text.startswith("$ ")]
    return [[_step(part) for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]] for text in shown]


def _step(part: str) -> Step:
    command, *prints = part.splitlines()
    return Step(command, tuple(prints))


def prose(text: str, code: bool = False) -> str:
    """Return a page without its blocks and, unless it is asked for, without the code in its sentences."""
    sentences = _BLOCK.sub("", text)
    return sentences if code else re.sub(r"`[^`\n]*`", "`code`", sentences)


def links(text: str) -> list[Link]:
    without = re.sub(r"(?<!\[)`[^`\n]*`(?!\])", "", _BLOCK.sub("", text))
    return [Link(bool(bang), target) for bang, target in _LINK.findall(without)]


def headings(text: str) -> Iterator[tuple[int, str]]:
    for marks, title in re.findall(r"^(#{1,6}) (.+)$", _BLOCK.sub("", text), re.MULTILINE):
        yield len(marks), title.strip()


def anchors(text: str) -> set[str]:
    """Return a page's anchors: its own, and its headings' as GitHub makes them; one that comes again has a number."""
    seen: dict[str, int] = {}
    made = set(re.findall(r'<a id="([^"]+)">', text))
    for _, title in headings(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        made.add(f"{slug}-{count}" if count else slug)
    return made
