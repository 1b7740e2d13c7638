"""The report's pages."""

from __future__ import annotations

from hyperflow import report
from hyperflow.specs import Trial
from hyperflow.volume import records


def test_report_escapes_what_a_trainer_may_print() -> None:
    hostile = "<script>alert(1)</script>"
    trial = Trial(hostile, "succeeded", {"x": hostile}, 0.5)
    record = records.Tune(metric="m", direction="maximize", best=trial, trials=(trial,), location=hostile)
    html = report.page(hostile, [report.trials(record)])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
