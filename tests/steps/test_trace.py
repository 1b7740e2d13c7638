"""The steps of a run as one trace, sent by real processes to a real OTLP receiver."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.collector import collector

PROGRAM = """
import sys, time
from hyperflow.errors import DataError
from hyperflow.steps import begin
with begin(sys.argv[1], "20260301-x"):
    if sys.argv[2] == "fail":
        raise DataError("the data set is damaged")
    if sys.argv[2] == "wait":
        print("waits", flush=True)
        time.sleep(60)
print(sum(name.partition(".")[0] == "opentelemetry" for name in sys.modules))
"""


def start(stage: str, what: str, tmp_path: Path, endpoint: str | None) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment |= {"HYPERFLOW_VOLUME": str(tmp_path)} | ({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if endpoint else {})
    command = [sys.executable, "-c", PROGRAM, stage, what]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_steps_of_a_run_make_one_trace(tmp_path: Path) -> None:
    with collector() as got:
        assert start("load-data", "pass", tmp_path, got.url).wait(60) == 0
        assert start("train", "fail", tmp_path, got.url).wait(60) != 0
        stopped = start("tune", "wait", tmp_path, got.url)
        assert stopped.stdout
        assert stopped.stdout.readline() == "waits\n"
        stopped.send_signal(signal.SIGTERM)
        assert stopped.wait(60) != 0
    told = {span.name: {pair.key: pair.value.string_value for pair in span.attributes} for span in got.spans}
    assert {name: each["hyperflow.state"] for name, each in told.items()} == {
        "load-data": "succeeded", "train": "failed", "tune": "cancelled",
    }  # fmt: skip
    assert {each["hyperflow.run_id"] for each in told.values()} == {"20260301-x"}
    assert {span.trace_id for span in got.spans} == {hashlib.sha256(b"20260301-x").digest()[:16]}
    assert {span.name: span.status.message for span in got.spans}["train"] == "the data set is damaged"
    assert all(0 < span.start_time_unix_nano <= span.end_time_unix_nano for span in got.spans)
    assert got.services == {"hyperflow-steps"}


def test_a_step_whose_span_cannot_be_sent_warns_and_ends_well(tmp_path: Path) -> None:
    step = start("train", "pass", tmp_path, "http://127.0.0.1:9")
    _, told = step.communicate(timeout=60)
    assert step.returncode == 0
    assert "warning: the step's span was not sent" in told


def test_a_step_imports_nothing_of_opentelemetry_where_no_spans_are_wanted(tmp_path: Path) -> None:
    step = start("train", "pass", tmp_path, None)
    said, told = step.communicate(timeout=60)
    assert (step.returncode, said, told) == (0, "0\n", "")
