"""Execute the tutorial notebook and keep its outputs: `python docs/notebook.py`, or with the path to write to."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("tutorial.ipynb")
SECONDS = 1500  # of a cell: one of them is the whole run


def execute(target: Path) -> None:
    """Run every cell in a kernel of this Python, and write the notebook with what they printed and drew."""
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            _settle(output)
    notebook.metadata["language_info"] = {"name": "python"}
    target.write_text(nbformat.writes(notebook, indent=1) + "\n", encoding="utf-8")


def _settle(output: Any) -> None:
    """Leave out what tells one machine from another."""
    output.pop("execution_count", None) if output.output_type != "execute_result" else None
    if "text" in output:
        output.text = re.sub(re.escape(os.getcwd()), "…", output.text)
    output.get("data", {}).pop("text/plain", None) if "image/png" in output.get("data", {}) else None


if __name__ == "__main__":
    execute(Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK)
