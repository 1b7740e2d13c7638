"""The tutorial notebook runs from its first cell to its last, and is kept with what it printed and drew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs import pages
from tests.pipelines.api import Api

NOTEBOOK = pages.ROOT / "docs" / "tutorial.ipynb"


def cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def printed(cell: dict[str, Any]) -> str:
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def drawn(cell: dict[str, Any]) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell["outputs"])


@pytest.mark.docs
@pytest.mark.timeout(600)
def test_it_runs_and_its_cells_print_and_draw_what_the_kept_ones_do(tmp_path: Path) -> None:
    """Figures differ from run to run, so what is compared is which cells print and draw, and what they end with."""
    executed = tmp_path / "executed.ipynb"
    environment = {**os.environ, "HYPERFLOW_VOLUME": str(tmp_path / "volume"), "MPLBACKEND": ""}
    del environment["MPLBACKEND"]
    command = [sys.executable, str(pages.ROOT / "docs" / "notebook.py"), str(executed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for ours, kept in zip(cells(executed), cells(NOTEBOOK), strict=True):
        assert source(ours) == source(kept)
        assert (bool(printed(ours)), drawn(ours)) == (bool(printed(kept)), drawn(kept)), source(kept)
    assert "Ankle boot" in printed(cells(executed)[-3])
    assert "stopped fashion-mnist" in printed(cells(executed)[-1])


def test_it_is_kept_with_its_outputs_and_without_this_machine() -> None:
    assert sum(drawn(cell) for cell in cells(NOTEBOOK)) >= 4
    assert sum(bool(printed(cell)) for cell in cells(NOTEBOOK)) >= 5
    assert not [output for cell in cells(NOTEBOOK) for output in cell["outputs"] if output["output_type"] == "error"]
    assert "/home/" not in NOTEBOOK.read_text(encoding="utf-8")
    assert NOTEBOOK.stat().st_size < 200_000


def test_on_kubeflow_its_cells_create_the_run_through_kfps_client(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api()
    kfp = pytest.importorskip("kfp")
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", api.url)
    monkeypatch.setattr(kfp.Client, "wait_for_run_completion", lambda *_, **__: None)
    names: dict[str, Any] = {"ROOT": pages.ROOT}
    cell = next(source(each) for each in cells(NOTEBOOK) if "def run_on_kubeflow" in source(each))
    definitions = cell.partition("\nrun_id = ")[0]
    try:
        exec(compile(definitions, "tutorial.ipynb", "exec"), names)
        assert names["run_on_kubeflow"]() == "run-1"
        sent = api.sent["runs"]["runtime_config"]["parameters"]
        assert sent == names["PARAMETERS"]
        assert api.sent["experiments"]["display_name"] == "tutorial"
    finally:
        api.close()
