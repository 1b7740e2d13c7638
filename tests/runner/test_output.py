"""What kfp.local prints: kept whole in the log, and sorted for whoever watches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperflow.progress import Progress
from hyperflow.runner.output import Listener, Output


@pytest.fixture
def heard() -> list[object]:
    return []


@pytest.fixture
def output(tmp_path: Path, heard: list[object]) -> Iterator[Output]:
    with Output(tmp_path / "log.txt", Listener(heard.append, heard.append, heard.append)) as made:
        yield made


def test_stages_and_progress_are_told_in_their_order(output: Output, heard: list[object]) -> None:
    output.write("12:00:00 - INFO - Executing task \x1b[96m'load-data'\x1b[0m\n")
    output.write("    [tune 1/6] best 0.9\nExecuting task 'predict-2'\n")
    assert heard == ["load_data", Progress("tune", 1, 6, "best 0.9"), "predict"]


def test_line_is_acted_on_once_it_is_whole(output: Output, heard: list[object]) -> None:
    for part in ("[tune 1", "/6] be", "st"):
        assert output.write(part) == len(part)
    assert heard == []
    output.write("\n")
    assert heard == [Progress("tune", 1, 6, "best")]


def test_what_a_person_is_to_read_now_is_told_as_it_is(output: Output, heard: list[object]) -> None:
    output.write("asks: approve it\n        asks:   or not\nbasks: in the sun\n")
    assert heard == ["approve it", "  or not"]


def test_last_error_is_kept_with_its_cause_and_remedy(output: Output) -> None:
    output.write("    error: first\n      cause: a\nsomething else\n")
    output.write("    error: second\n      cause: b\n        more of b\n      remedy: c\nTask ended\n")
    assert output.failure == "second\n  cause: b\n    more of b\n  remedy: c"


def test_last_lines_are_the_steps_own(output: Output) -> None:
    output.write(
        "12:00:00.1 - INFO - Executing task 'tune'\nold\n12:00:01.250 - INFO - Executing task \x1b[96m'train'\n"
    )
    output.write("    one\n    two\n\n-----\n12:00:02.123 - ERROR - Task 'train' finished with status FAILURE\n")
    assert output.stage == "train"
    assert output.last == ["one", "two"]


def test_log_has_everything_without_colours(output: Output, tmp_path: Path) -> None:
    output.write("\x1b[91mred\x1b[0m\n    indented\nunfinished")
    assert (tmp_path / "log.txt").read_text() == "red\nindented\n"
