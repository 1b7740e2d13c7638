"""Sections from the command to the page, as small as they can be, where nothing else has to be installed for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("section", ["run", "presets", "ablation", "train"])
def test_section_fills_its_part_of_the_page(tmp_path: Path, section: str) -> None:
    command = [sys.executable, "-m", "benchmarks", section, "--quick", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert f"Not measured yet: `python -m benchmarks {section}`" not in page
    assert "A quick try" in page
    assert (tmp_path / "benchmarks" / f"{section}.svg").exists()
