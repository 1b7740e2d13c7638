"""What a run leaves: a served model that answers the tutorial's request, a summary, a report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest

from hyperflow import metrics
from hyperflow.engines.local.processes import free_port
from tests.runner.laptop import Laptop, wait_for

STAGES = ["check", "load_data", "tune", "train", "decide", "deploy", "predict"]


def curl(url: str, body: str) -> tuple[int, Any]:
    """Ask as `curl -d` does, by curl where it is installed; it gives a body the content type of a form."""
    if shutil.which("curl"):
        command = ["curl", "-s", "-w", "\n%{http_code}", url, "-d", body]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        answer, code = done.stdout.rsplit("\n", 1)
        return int(code), json.loads(answer)
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/x-www-form-urlencoded"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def url(done: tuple[Laptop, str]) -> str:
    endpoint: str = done[0].summary("whole")["endpoint"]
    return endpoint


def test_summary_has_every_figure(done: tuple[Laptop, str]) -> None:
    summary = done[0].summary("whole")
    assert list(summary["seconds"]) == STAGES
    assert set(summary["best_parameters"]) == {"learning_rate", "dropout_rate"}
    assert 0.3 < summary["validation_accuracy"] <= 1
    assert 0.3 < summary["test_accuracy"] <= 1
    assert summary["decision"]["deploy"] is True
    assert summary["smoke"]["instances"] == 50
    assert summary["smoke"]["p50_ms"] <= summary["smoke"]["p99_ms"]
    assert (Path(summary["model_path"]) / "1" / "saved_model.pb").exists()


def test_each_trial_says_what_it_ran_with(done: tuple[Laptop, str]) -> None:
    record = json.loads((done[0].volume / "runs" / "whole" / "steps" / "tune.json").read_text())
    for trial in record["trials"]:
        assert trial["cores"] == max(1, (os.cpu_count() or 1) // 2), "two run at a time"
        assert 100 << 20 < trial["memory"] < 16 << 30, "a trainer with TensorFlow in it"
    report = Path(done[0].summary("whole")["report"]).read_text()
    assert report.count(" MiB</td>") == len(record["trials"])
    assert "tensorboard --logdir " in report


def test_output_shows_every_stage_and_the_summary(done: tuple[Laptop, str]) -> None:
    laptop, output = done
    for stage in STAGES:
        assert f"{stage} …" in output
    assert "[tune 2/2] best validation-accuracy=" in output
    assert "[train 3/3]" in output
    assert laptop.summary("whole")["endpoint"] in output


def test_report_needs_no_other_file(done: tuple[Laptop, str]) -> None:
    report = Path(done[0].summary("whole")["report"]).read_text()
    for heading in ("Summary", "Trials", "Training", "Classes", "Misread images"):
        assert heading in report
    assert 'src="http' not in report
    assert "href=" not in report


def test_page_shows_the_run_as_it_goes_and_the_report_at_its_end(done: tuple[Laptop, str]) -> None:
    """It is drawn too rarely to be sure of a training of a second, so the log that it draws a curve of is looked at."""
    pages = done[0].pages
    assert "<b>Running</b>" in pages[0]
    assert any("<th>tune</th><td>running</td>" in page for page in pages)
    lines = (done[0].volume / "runs" / "whole" / "train" / "chief-0.log").read_text().splitlines()
    assert len(metrics.curve(lines)["validation-accuracy"]) == 3, "its curves come with the epochs"
    assert pages[-1] == Path(done[0].summary("whole")["report"]).read_text()


def test_tutorials_request_is_answered_unchanged(url: str) -> None:
    """No content type is given, so curl sends that of a form."""
    code, answer = curl(url, json.dumps({"instances": [{"flatten_input": [0] * 784}]}))
    assert code == 200
    (probabilities,) = answer["predictions"]
    assert len(probabilities) == 10
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("image", [[[0] * 28] * 28, [[[0]] * 28] * 28, [0.0] * 784])
def test_other_shapes_and_several_instances(url: str, image: list[Any]) -> None:
    code, answer = curl(url, json.dumps({"instances": [{"flatten_input": image}] * 3}))
    assert code == 200
    assert [len(row) for row in answer["predictions"]] == [10, 10, 10]


def test_bad_request_is_the_callers_fault(url: str) -> None:
    code, answer = curl(url, json.dumps({"instances": [{"flatten_input": [0] * 3}]}))
    assert code == 400
    assert "784" in json.dumps(answer)


def test_same_run_again_makes_nothing_anew(done: tuple[Laptop, str]) -> None:
    laptop, _ = done
    model = Path(laptop.summary("whole")["model_path"]) / "1" / "saved_model.pb"
    before = model.stat().st_mtime_ns
    trials = len(list((laptop.volume / "runs" / "whole" / "tune").glob("trial-*.log")))
    code, output = laptop.call("run", "--run-id", "whole", "--keep-serving")
    assert code == 0, output
    assert model.stat().st_mtime_ns == before
    assert len(list((laptop.volume / "runs" / "whole" / "tune").glob("trial-*.log"))) == trials


def test_server_can_be_told_from_other_processes(done: tuple[Laptop, str]) -> None:
    lines = [" ".join(process.cmdline()) for process in done[0].processes()]
    assert len([line for line in lines if "-m hyperflow.serving --model_name=fashion-mnist" in line]) == 1, lines


def test_service_outlives_the_run_that_keeps_it_and_can_be_asked_and_stopped(done: tuple[Laptop, str]) -> None:
    laptop, _ = done
    code, output = laptop.call("predict", "--url", laptop.summary("whole")["endpoint"].split("/v1")[0])
    assert code == 0, output
    assert "accuracy" in output
    assert laptop.call("runs")[1].count("whole") == 1
    code, output = laptop.call("stop")
    assert "stopped fashion-mnist" in output
    laptop.assert_nothing_runs()


def test_model_below_the_floor_is_visibly_skipped(laptop: Laptop) -> None:
    code, output = laptop.call("run", "--run-id", "low", values=["accuracy_floor=0.999", "max_trials=1", "epochs=1"])
    assert code == 0
    assert "refused: its accuracy of" in output
    assert "below the floor of 0.9990" in output
    summary = laptop.summary("low")
    assert (summary["decision"]["deploy"], summary["endpoint"], summary["smoke"]) == (False, None, None)
    laptop.assert_nothing_runs()


def test_serve_by_hand(done: tuple[Laptop, str]) -> None:
    laptop, _ = done
    model = laptop.summary("whole")["model_path"]
    code, output = laptop.call("serve", model, "--port", "0", "--background")
    assert code == 0, output
    address = output.split("answers at ")[1].splitlines()[0]
    assert curl(address, json.dumps({"instances": [[0] * 784]}))[0] == 200
    assert laptop.call("stop")[0] == 0
    wait_for(lambda: not laptop.processes(), 20)


def test_serve_in_the_foreground_speaks_grpc_on_request(done: tuple[Laptop, str]) -> None:
    laptop, _ = done
    port = free_port()
    process = laptop.start("serve", laptop.summary("whole")["model_path"], "--port", "0", "--grpc-port", str(port))
    assert process.stdout
    assert any("gRPC at" in line for line in process.stdout)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ready = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")(b"", timeout=20)
    assert ready == b"\x08\x01", "which is protobuf's for ready=true"
    process.terminate()
    assert process.wait(30) == 0
    code, output = laptop.call("serve", laptop.summary("whole")["model_path"], "--grpc-port", "9", "--background")
    assert code == 2
    assert "'--grpc-port'" in output
