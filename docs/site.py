"""What the site has besides docs/: files of the repository that pages link to, and the notebook as a page.

A link such as `../examples/own-trainer` works where the source is read. On the site there is nothing above `docs/`, so
what such links name is put below `project/`; a folder is its README.md, or else its name without a link.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTEBOOK = "tutorial.ipynb"
LINK = re.compile(r"(\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add what pages link to outside docs/, and what those link to, and the notebook."""
    _add(files, config, "notebook.md", notebook((DOCS / NOTEBOOK).read_text(encoding="utf-8")))
    waiting = [DOCS / file.src_uri for file in files.documentation_pages() if (DOCS / file.src_uri).exists()]
    seen: set[Path] = set()
    while waiting:
        for target in _outside(waiting.pop()):
            if target not in seen:
                seen.add(target)
                waiting += [target] if target.suffix == ".md" else []
                _add(files, config, f"project/{target.relative_to(ROOT)}", target.read_bytes())
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Lead links that leave docs/ to where their targets are on the site."""
    place = page.file.src_uri
    source = ROOT / place.removeprefix("project/") if place.startswith("project/") else DOCS / place

    def led(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if re.match(r"\w+:", target):
            return match[0]
        path = _readme((source.parent / target).resolve())
        if path is None:
            return text[1:-1]
        on_site = _on_site(path)
        return f"{text}({os.path.relpath(on_site, os.path.dirname(place) or '.')}{anchor})"

    return _outside_code(markdown, lambda text: LINK.sub(led, text))


def notebook(text: str) -> str:
    """Write a notebook as a page: texts, code, and what the code printed or drew."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            said = "".join(output.get("text", data.get("text/plain", "")))
            if "image/png" in data:
                encoded = "".join(data["image/png"]).strip()
                parts.append(f'<img alt="" src="data:image/png;base64,{encoded}">')
            elif "text/html" in data:
                parts.append("".join(data["text/html"]))
            elif said.strip():
                parts.append(f"```text\n{said.rstrip()}\n```")
    return "\n\n".join(parts)


def _on_site(path: Path) -> str:
    if path == DOCS / NOTEBOOK:
        return "notebook.md"
    return str(path.relative_to(DOCS)) if path.is_relative_to(DOCS) else f"project/{path.relative_to(ROOT)}"


def _outside(page: Path) -> set[Path]:
    """Return the files outside docs/ that a page links to."""
    found: set[Path] = set()
    _outside_code(
        page.read_text(encoding="utf-8"),
        lambda text: [found.add(_target(page, link)) for link in LINK.findall(text)] and text,
    )
    return {path for path in found if path and not path.is_relative_to(DOCS)}


def _target(page: Path, link: tuple[str, str, str]) -> Any:
    return None if re.match(r"\w+:", link[1]) else _readme((page.parent / link[1]).resolve())


def _readme(path: Path) -> Path | None:
    """Return the file that stands for a path: itself, a folder's README.md, or nothing."""
    path = path / "README.md" if path.is_dir() else path
    return path if path.is_file() else None


def _outside_code(text: str, change: Any) -> str:
    parts = re.split(r"(^ *```.*?^ *```|`[^`\n]*`)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if index % 2 else change(part) or part for index, part in enumerate(parts))


def _add(files: Files, config: Any, place: str, content: str | bytes) -> None:
    files.append(File.generated(config, place, content=content))
