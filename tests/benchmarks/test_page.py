"""The page of the benchmarks: made from the records alone, and the one that is committed."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import page, record

ROOT = Path(__file__).parents[2]
SEARCH = {"space": "two", "target": 0.9, "best": 0.9, "trials": 3, "peak_mib": 700.0}
TRAINING = {
    "what": "training",
    "precision": "float32",
    "share_of_matmul": 0.4,
    "test_accuracy": 0.93,
    "peak_mib": 900.0,
}
LEVELS = {"to_0.90": 10.0, "to_0.92": 20.0, "to_0.93": None, "to_0.94": None}
ROWS: dict[str, list[record.Row]] = {
    "run": [
        {"what": "command", "name": "import kfp", "times": 5, "seconds": 0.75, "peak_mib": 90.0},
        {
            "what": "run",
            "number": 0,
            "seconds": 106.0,
            "core_seconds": 190.0,
            "trainers": 95.4,
            "test_accuracy": 0.93,
            "stages": {"tune": 20.2, "train": 78.6},
        },
        {"what": "process", "number": 0, "name": "hyperflow.engines.local.warm", "peak_mib": 512.0},
    ],
    "presets": [
        {"preset": "fast", "precision": "float32", "seed": seed, "test_accuracy": 0.92 + seed / 1000}
        | {"seconds": 40.0, "core_seconds": 75.0}
        for seed in (0, 1)
    ],
    "ablation": [{"name": "all of it", "seed": 0, "epochs": 6, "test_accuracy": 0.93, "core_seconds": 150.0}],
    "train": [
        {"what": "matmul", "precision": "float32", "flops": 2.5e11, "size": 2048},
        {**TRAINING, **LEVELS, "name": "ours", "images_per_second": 9000.0},
        {**TRAINING, **LEVELS, "name": "Keras fit", "images_per_second": 4500.0},
        {"what": "workers", "workers": 2, "seconds": 40.0, "core_seconds": 70.0, "test_accuracy": 0.9},
    ],
    "tune": [
        {**SEARCH, "name": "ours", "seed": 0, "reached": True, "seconds": 20.0, "core_seconds": 31.0},
        {**SEARCH, "name": "ours", "seed": 1, "reached": True, "seconds": 30.0, "core_seconds": 41.0},
        {**SEARCH, "name": "KerasTuner", "seed": 0, "reached": False, "seconds": 99.0, "core_seconds": 98.0},
        {**SEARCH, "name": "KerasTuner", "seed": 1, "reached": True, "seconds": 55.0, "core_seconds": 61.0},
    ],
    "serve": [
        {"name": "ours", "rate": 2345.0, "p50": 6.5, "p99": 9.5, "rss": 180.0, "ready": 1.25},
        {"name": "LitServe", "rate": 345.0, "p50": 40.5, "p99": 60.5, "rss": 480.0, "ready": 5.25},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for section, rows in ROWS.items():
        record.write(section, rows, ["python", "-m", "benchmarks", section], False, tmp_path)
    return tmp_path


def test_committed_page_is_what_the_records_render_to() -> None:
    for name, content in page.render().items():
        path = page.PAGE if name == "page" else page.PAGE.parent / name
        assert path.read_text(encoding="utf-8") == content, "python -m benchmarks render"


def test_every_figure_is_in_its_row(folder: Path) -> None:
    text = page.render(folder)["page"]
    lines = [line for line in text.splitlines() if "<a id" in line]
    rows = {line.split('"')[1]: line.split("</a>")[1] for line in lines}
    cells = {link: [cell.strip() for cell in row.split("|")] for link, row in rows.items()}
    assert cells["servers-ours"][:4] == ["ours", "2,345", "6.5", "9.5"]
    assert cells["two-parameters-ours"][1:4] == ["25", "36", "2 of 2"]
    assert cells["training-ours-float32"][1:6] == ["9,000", "0.4", "10", "20", "—"]
    assert cells["presets-fast-float32"][1:] == ["0.9205", "0.9200", "0.9210", "40", "75", "2", ""]
    assert cells["recipe-all-of-it"][1:] == ["0.9300", "0.9300", "0.9300", "150", "1", ""]
    assert cells["a-run-whole-run"][1] == "106"
    assert cells["a-run-share-that-is-not-the-trainers-own"][1] == "0.1"
    assert "Not measured yet" not in text


def test_search_that_missed_its_target_is_no_short_one(folder: Path) -> None:
    text = page.render(folder)["page"]
    (line,) = [line for line in text.splitlines() if "two-parameters-kerastuner" in line]
    assert [cell.strip() for cell in line.split("|")[2:5]] == ["—", "—", "1 of 2"]


def test_tables_are_tables(folder: Path) -> None:
    lines = page.render(folder)["page"].splitlines()
    for before, line in pairwise(lines):
        if line.startswith("| <a"):
            assert before.startswith("|"), "a row stands below a head or a row"
    heads = [place for place, line in enumerate(lines) if line.startswith("|---")]
    assert len(heads) == 10
    assert all(lines[place + 1].count("|") == lines[place].count("|") == lines[place - 1].count("|") for place in heads)


def test_same_records_give_the_same_bytes(folder: Path) -> None:
    assert page.render(folder) == page.render(folder)
    assert sorted(page.render(folder)) == [*(f"benchmarks/{name}.svg" for name in sorted(page.SECTIONS)), "page"]


def test_section_without_a_record_is_said_to_be_missing(folder: Path) -> None:
    (folder / "tune.json").unlink()
    assert "Not measured yet: `python -m benchmarks tune`" in page.render(folder)["page"]


@pytest.mark.parametrize(("hours", "quick", "good"), [(1, False, True), (0, False, False), (1, True, False)])
def test_record_is_good_for_some_hours(folder: Path, hours: float, quick: bool, good: bool) -> None:
    assert record.is_younger("tune", hours, quick, folder) is good


def test_age_is_by_the_record_not_the_file(folder: Path) -> None:
    path = folder / "tune.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "date": "2020-01-01 00:00 UTC"}))
    assert not record.is_younger("tune", 24, False, folder)


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_speeds_in_the_readme_point_to_the_page(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `make run`") and "AVX-512" in line]
    assert rows
    assert all("docs/benchmarks.md#" in row for row in rows)
    anchors = set(re.findall(r'<a id="([^"]+)"|^## (.+)$', page.render()["page"], re.MULTILINE))
    known = {link or title.lower() for link, title in anchors}
    assert set(re.findall(r"docs/benchmarks\.md#([\w-]+)", text)) <= known
