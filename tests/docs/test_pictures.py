"""The drawn pictures show the compiled pipeline, and the committed ones are current."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType
from xml.etree import ElementTree

import pytest

from tests.docs import pages


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", pages.ROOT / "docs" / "pictures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_drawing_has_the_pipelines_steps_in_their_order_and_its_condition(pictures: ModuleType) -> None:
    drawing = pictures.draw_pipeline()
    words = [text.text for text in ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")]
    assert words[:7] == ["check", "load_data", "tune", "train", "decide", "deploy", "predict"]
    assert words[7:] == ["only if the gate says deploy"]
    assert [task.name for task in pictures.tasks() if task.condition] == ["deploy", "predict"]


def test_the_engines_are_drawn_step_by_step(pictures: ModuleType) -> None:
    assert set(pictures.SIDES) == {task.name for task in pictures.tasks()}


@pytest.mark.parametrize("name", ["pipeline", "engines"])
def test_the_committed_drawings_are_current(pictures: ModuleType, name: str) -> None:
    kept = (pictures.PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    assert kept == getattr(pictures, f"draw_{name}")(), "run `make pictures`"


def test_no_drawing_asks_anybody_for_anything() -> None:
    for path in (pages.ROOT / "docs").rglob("*.svg"):
        addresses = re.findall(r"https?://[\w.]+", path.read_text(encoding="utf-8"))
        assert {each for each in addresses if "127.0.0.1" not in each} == {"http://www.w3.org"}, path


def test_a_bar_is_drawn_over_the_one_before_it(pictures: ModuleType) -> None:
    first, second = "\x1b[?25l\r\x1b[2Kcheck 0\r\n", "\r\x1b[1A\x1b[2Kcheck 1\r\n\x1b[2Ktrain 0\r\n"
    assert pictures.settled(f"Run\r\n{first}{second}\x1b[?25hended\r\n") == ["Run", "check 1", "train 0", "ended", ""]


def test_the_terminal_shows_a_whole_run(pictures: ModuleType) -> None:
    command = f"hyperflow run {' '.join(pictures.SHORT)}"
    assert command in (pages.ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>|&#160;", " ", (pictures.PICTURES / "terminal.svg").read_text(encoding="utf-8"))
    for word in (command, "load_data", "deployed", "smoke test"):
        assert word in re.sub(r"\s+", " ", text)
