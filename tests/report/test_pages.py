"""The report's pages."""

from __future__ import annotations

import base64
import io
import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperflow import datasets, report, volume
from hyperflow.evaluation import compare
from hyperflow.report import index, plots
from hyperflow.specs import ModelRef, Trial
from hyperflow.volume import evaluation, paths, records, summary
from hyperflow.volume.summary import Decision, Summary

ROOT = Path(__file__).parents[2]


def test_report_escapes_what_a_trainer_may_print() -> None:
    hostile = "<script>alert(1)</script>"
    trial = Trial(hostile, "succeeded", {"x": hostile}, 0.5)
    record = records.Tune(metric="m", direction="maximize", best=trial, trials=(trial,), location=hostile)
    html = report.page(hostile, [report.trials(record)])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_run_says_with_what_it_was_made_and_what_was_decided() -> None:
    values = {
        "machine": "Linux",
        "versions": "hyperflow 1",
        "parameters": {"epochs": "3", "max_trials": "6", "trainer_image": "own:1"},
    }
    html = report.page("x", [report.lead({"outcome": "refused", "reason": "it is worse"}), report.about(values)])
    assert "Refused</b>: it is worse." in html
    first, _, rest = html.partition("<details>")
    assert "<th>epochs</th>" in first
    assert "<th>max_trials</th>" not in first, "it is what it is by default"
    assert "<th>trainer_image</th>" not in first, "no image has a part in it"
    assert "<th>max_trials</th>" in rest


def test_search_over_more_than_two_parameters_shows_which_of_them_matter() -> None:
    trials = tuple(
        Trial(f"t{i}", "succeeded", {"rate": 10.0**-i, "units": 8 * (i % 3), "kind": "ab"[i % 2]}, 0.5 + i / 10)
        for i in range(4)
    )
    record = records.Tune(metric="m", direction="maximize", best=trials[-1], trials=trials)
    html = report.trials(record)
    assert "rate <b>-1.00</b>" in html
    assert "kind <b>" not in html.partition("Rank correlation")[2], "a text has no rank"
    assert html.count("<img") == 5, "history, three parameters, all of them together"
    two = tuple(replace(trial, parameters={"rate": trial.parameters["rate"], "kind": "a"}) for trial in trials)
    few = report.trials(replace(record, best=two[-1], trials=two))
    assert "Rank correlation" not in few
    assert few.count("<img") == 3


def test_curve_has_no_legend_of_what_was_not_printed() -> None:
    drawn = base64.b64decode(plots.curve({"loss": [0.9, 0.8]}, ("loss", "validation-loss")).partition(",")[2])
    both = base64.b64decode(
        plots.curve({"loss": [1.0], "validation-loss": [1.0]}, ("loss", "validation-loss")).partition(",")[2]
    )
    assert drawn.count(b'id="line2d_') < both.count(b'id="line2d_')


@pytest.mark.parametrize(
    ("low", "high"),
    [(5e-4, 3e-3), (5e-4, 2e-2), (1e-5, 1e-3), (1e-12, 1.0), (3, 16), (3.1e-3, 7.1e-3), (128, 256), (1, 100_000)],
)
def test_labels_of_a_parameters_axis_are_plain_numbers_that_never_touch(
    low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "_image", drawn.append)
    trials = tuple(Trial(f"t{i}", "succeeded", {"rate": float(x)}, i) for i, x in enumerate(np.geomspace(low, high, 6)))
    plots.over_parameter(records.Tune(metric="m", direction="maximize", best=trials[-1], trials=trials), "rate")
    drawn[0].draw_without_rendering()
    axis = drawn[0].axes[0].xaxis
    left, right = axis.get_view_interval()
    labels = [tick.label1 for tick in axis.get_major_ticks() if left <= tick.get_loc() <= right]
    assert len(labels) > 1
    assert all(float(label.get_text()) for label in labels)
    boxes = [label.get_window_extent() for label in labels]
    assert all(before.x1 + 4 < after.x0 for before, after in itertools.pairwise(boxes))


def test_index_lists_the_newest_first_and_keeps_hostile_values_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path))
    for number, run_id in enumerate(("b", "a", "c")):
        about = {"data set": "small", "parameters": {"epochs": "3"}}
        decision = Decision("deployed", True, "</script><b>")
        summary.write(Summary(run_id=run_id, decision=decision, test_accuracy=0.5, total_seconds=3.0, about=about))
        os.utime(paths.run_summary(run_id), (number, number))
    assert index.newest_first() == ["c", "a", "b"]
    html = index.write().read_text()
    assert index.newest_first() == ["c", "a", "b"], "the page is no run"
    assert "</script><b>" not in html
    assert 'href="c/report.html"' in html
    assert "epochs=3" in html


def test_documented_evaluation_fills_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(volume.ENVIRONMENT, str(tmp_path / "volume"))
    text = (ROOT / "docs" / "own-trainer.md").read_text()
    written: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], written)
    dataset = datasets.load(str(ROOT / "tests" / "data" / "fashion-mnist-small"), "small")
    labels = dataset.labels("test")
    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), len(labels))
    model = tmp_path / "model"
    written["write_evaluation"](model / "1", dataset.path, probabilities, labels, dataset.labels("train"))
    told = evaluation.read(str(model))
    assert compare.predictions(told, dataset.digest, len(labels)) is not None
    record = records.Train(model=ModelRef(str(model)), metrics={}, curve={}, evaluation=told)
    html = report.page("x", report.training(record, dataset))
    for words in ("Confusion matrix", "Misread images", "<td>0</td>"):
        assert words in html


def test_grey_images_light_on_black_are_shown_as_ink_on_paper_and_others_as_they_are() -> None:
    def shown(image: np.ndarray, negative: bool = False) -> np.ndarray:
        content = base64.b64decode(plots.picture(image, negative).partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    coloured = np.random.default_rng(1).integers(0, 256, (2, 6, 4, 3), dtype=np.uint8)
    assert (shown(coloured[0]) == coloured[0]).all()
    assert not plots.is_negative(coloured)
    grey = coloured[..., 0]
    assert not plots.is_negative(grey)
    assert np.abs(shown(grey[0])[..., 1].astype(int) - grey[0]).max() <= 1
    assert plots.is_negative(grey // 8)
    assert np.abs(shown(grey[0], negative=True)[..., 2].astype(int) + grey[0] - 255).max() <= 1


def test_names_of_folders_are_shown_as_they_are() -> None:
    names = ("<b>cat</b>", r"$\frac{dog", "a_b^c$")
    counts = ((5, 1, 0), (0, 4, 2), (1, 0, 3))
    told = evaluation.Evaluation(classes=names, confusion_matrix=counts)
    record = records.Train(model=ModelRef("/m"), metrics={}, curve={}, evaluation=told)
    dataset = datasets.Dataset("x", "/x", "0", 1, 1, names)
    html = report.page("x", report.training(record, dataset))
    assert "<b>cat" not in html
    assert "&lt;b&gt;cat&lt;/b&gt;" in html
