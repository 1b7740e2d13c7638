"""Rules, dashboard and runbook: each alert fires when it should and only then, each query of the dashboard has data."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from hyperflow import volume
from hyperflow.volume import cards
from hyperflow.volume.paths import EVALUATION
from tests.serving.predictor import NAME, Predictor
from tests.serving.prometheus import MISSING, MONITORING, Prometheus, alerts, dashboard, prometheus, rules

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"
needs_prometheus = pytest.mark.skipif(bool(MISSING), reason=MISSING)

Series = dict[str, str]
"""What is scraped once a minute, in promtool's notation; `0+5x100` is 5 more every minute."""

NEW, OLD = 'run_id="new",instance="b"', 'run_id="old",instance="a"'


def requests(good: int, bad: int, status: str = "500", labels: str = 'protocol="v1"', start: int = 0) -> Series:
    """Answers a minute; the bad ones begin at some minute."""
    bad_values = f"0x{start} {bad}+{bad}x100" if start else f"0+{bad}x100"
    return {
        f'hyperflow_requests_total{{{labels},status="200"}}': f"0+{good}x100",
        f'hyperflow_requests_total{{{labels},status="{status}"}}': bad_values,
    }


def seconds(fast: int, slow: int, labels: str = 'protocol="v1"') -> Series:
    """Requests a minute that take up to half a second, and up to two and a half."""
    bounds = {"0.5": fast, "1": fast, "2.5": fast + slow, "+Inf": fast + slow}
    return {f'hyperflow_request_seconds_bucket{{{labels},le="{le}"}}': f"0+{count}x100" for le, count in bounds.items()}


def classes(*counts: int) -> Series:
    """Answers a minute by class, of a model that learnt all of them alike."""
    answered = {
        f'hyperflow_predicted_class_total{{class="{index}"}}': f"0+{each}x100" for index, each in enumerate(counts)
    }
    share = f"{1 / len(counts)}x100"
    return answered | {f'hyperflow_expected_class_ratio{{class="{index}"}}': share for index in range(len(counts))}


def confidence(mean: float, instances: int = 10) -> Series:
    return {
        "hyperflow_expected_confidence{}": "0.9x100",
        "hyperflow_instances_total{}": f"0+{instances}x100",
        "hyperflow_confidence_total{}": f"0+{mean * instances}x100",
    }


def two_runs(old: Series, new: Series, made_old: int = 1, made_new: int = 2) -> Series:
    info = {f"hyperflow_model_info{{{OLD}}}": "1x100", f"hyperflow_model_info{{{NEW}}}": "1x100"}
    made = {
        f"hyperflow_model_made_timestamp_seconds{{{OLD}}}": f"{made_old}x100",
        f"hyperflow_model_made_timestamp_seconds{{{NEW}}}": f"{made_new}x100",
    }
    return info | made | old | new


def on(instance: str) -> str:
    return f'protocol="v2",instance="{instance}"'


def gone(minutes: int, labels: str = 'instance="a"') -> Series:
    return {f"hyperflow_model_info{{{labels}}}": f"1x{minutes} _x100"}


FAST, SLOW = "HyperflowErrorsFast", "HyperflowErrorsSlow"
CASES: dict[str, tuple[set[str], Series]] = {
    "one in fifty fails": ({FAST, SLOW}, requests(98, 2)),
    "as many are refused as too many": ({FAST, SLOW}, requests(98, 2, "429")),
    "as many fail over gRPC": ({FAST, SLOW}, requests(98, 2, "UNKNOWN", 'protocol="grpc"')),
    "as many clients err": (set(), requests(98, 2, "400")),
    "as many probes fail": (set(), requests(100, 0) | requests(98, 2, "503", 'protocol="info"')),
    "eight in a thousand fail": ({SLOW}, requests(992, 8)),
    "one in two thousand fails": (set(), requests(1999, 1)),
    "failures of the last four minutes only": (set(), requests(95, 5, start=96)),
    "nobody asks": (set(), requests(0, 0) | seconds(0, 0) | classes(0, 0) | confidence(0.0, 0)),
    "two of a hundred take long": ({"HyperflowSlow"}, seconds(98, 2)),
    "one of a thousand takes long": (set(), seconds(999, 1)),
    "the model always works": ({"HyperflowSaturated"}, {"hyperflow_model_seconds_sum{}": "0+57x100"}),
    "the model works half the time": (set(), {"hyperflow_model_seconds_sum{}": "0+30x100"}),
    "a long queue": (
        {"HyperflowSaturated"},
        {"hyperflow_waiting_instances{}": "3000x100", "hyperflow_waiting_instances_limit{}": "4096x100"},
    ),
    "a short queue": (
        set(),
        {"hyperflow_waiting_instances{}": "300x100", "hyperflow_waiting_instances_limit{}": "4096x100"},
    ),
    "one class is asked for much more": ({"HyperflowDrift"}, classes(9, 1)),
    "one class is not asked for at all": ({"HyperflowDrift"}, classes(5, 5, 0)),
    "one class is asked for a little more": (set(), classes(6, 5)),
    "the classes of a few questions": (set(), classes(1, 0)),
    "answers less sure": ({"HyperflowUnsure"}, confidence(0.75)),
    "answers as sure": (set(), confidence(0.85)),
    "a canary fails": (
        {"HyperflowCanaryWorse"},
        two_runs(requests(9990, 0, labels=on("a")), requests(96, 4, labels=on("b"))),
    ),
    "a canary is slow": (
        {"HyperflowCanaryWorse", "HyperflowSlow"},
        two_runs(seconds(100, 0, on("a")), seconds(90, 10, on("b"))),
    ),
    "a canary does as well": (set(), two_runs(requests(9990, 5, labels=on("a")), requests(500, 0, labels=on("b")))),
    "the stable model is the one that fails": (
        {SLOW},
        two_runs(requests(98, 2, labels=on("a")), requests(100, 0, labels=on("b"))),
    ),
    "a model is gone": ({"HyperflowNoModel"}, gone(85)),
    "a model is gone for a minute": (set(), gone(98)),
    "a model that may have no pod is gone": (set(), gone(85, 'instance="a",min_scale="0"')),
    "another pod has the model": (set(), gone(85) | {'hyperflow_model_info{instance="b"}': "1x100"}),
}
"""What happens, and which alerts fire after a hundred minutes of it."""


def labelled(series: str, case: str) -> str:
    return re.sub(r"\{(,?)", f'{{namespace="team-a",model_name="{case}",', series).replace(",}", "}")


def unit_test() -> dict[str, Any]:
    """Let all cases happen at once, each to a model of its own, since promtool takes a second for each test."""
    inputs = [
        {"series": labelled(each, case), "values": values}
        for case, (_, series) in CASES.items()
        for each, values in series.items()
    ]
    fired = [
        f'{{alertname="{alert}",namespace="team-a",model_name="{case}"}}'
        for case, (alerts_of_it, _) in CASES.items()
        for alert in alerts_of_it
    ]
    check = {
        "expr": 'count by (alertname, namespace, model_name) (ALERTS{alertstate="firing"})',
        "eval_time": "100m",
        "exp_samples": [{"labels": each, "value": 1} for each in fired],
    }
    return {"interval": "1m", "input_series": inputs, "promql_expr_test": [check]}


@needs_prometheus
def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [unit_test()]})
    )
    for words in (["check", "rules", "rules.yaml"], ["test", "rules", "test.yaml"]):
        done = subprocess.run(
            ["promtool", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_cases_have_each_alert_firing_and_not_firing() -> None:
    assert set().union(*(expected for expected, _ in CASES.values())) == alerts().keys()
    quiet = [series for expected, series in CASES.values() if not expected]
    for name, rule in alerts().items():
        used = set(re.findall(r"hyperflow_\w+", _whole(rule["expr"])))
        assert any({series.split("{")[0] for series in each} & used for each in quiet), name


def _whole(expression: str) -> str:
    """Put the recorded expressions in their names' places."""
    recorded = {
        rule["record"]: rule["expr"] for group in rules()["groups"] for rule in group["rules"] if "record" in rule
    }
    for name in sorted(recorded, key=len, reverse=True):
        if name in expression:
            return _whole(expression.replace(name, f"({recorded[name]})"))
    return expression


def test_each_alert_has_an_entry_in_the_runbook() -> None:
    entries = {line[3:].strip().lower() for line in RUNBOOK.read_text().splitlines() if line.startswith("## ")}
    assert {name.lower() for name in alerts()} <= entries
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes a predictor whose model has a card and a test, while somebody asks it."""
    folder = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(volume.ENVIRONMENT, str(folder / "volume"))
        cards.write(NAME, cards.Card("run-1", "digest", "code", {}, 0.875))
        model = Path(shutil.copytree(model_dir, volume.model_path(NAME, "run-1"), dirs_exist_ok=True))
    tested = {"train_class_counts": [600] * 10, "mean_confidence": 0.9}
    (model / "1" / EVALUATION).write_text(json.dumps(tested))
    predictor = Predictor(folder, model, "--enable_grpc=false", f"--log_payloads={folder / 'payloads'}")
    try:
        with prometheus(folder, f"127.0.0.1:{predictor.port}") as running:
            ask(predictor.url)
            running.wait_for("hyperflow_instances_total > 0")
            running.wait_for('hyperflow_payloads_total{outcome="logged"} > 0')
            ask(predictor.url)
            yield running
    finally:
        assert predictor.stop() == 0


def ask(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        for brightness in range(20):
            answer = client.post(f"/v1/models/{NAME}:predict", json={"instances": [[brightness * 12] * 784] * 2})
            assert answer.status_code == 200
        assert client.post(f"/v1/models/{NAME}:explain", json={"instances": [[7] * 784]}).status_code == 200
        assert client.post(f"/v1/models/{NAME}:predict", json={"instances": [["x"]]}).status_code == 400


@needs_prometheus
@pytest.mark.parametrize("model_dir", ["onnx"], indirect=True)
def test_a_real_prometheus_learns_what_is_served(watched: Prometheus) -> None:
    (info,) = watched.wait_for("hyperflow_model_info")
    told = {"model_name": NAME, "run_id": "run-1", "version": "1", "platform": "onnx_onnxv1"}
    assert told.items() <= info["metric"].items()
    watched.wait_for("hyperflow:class:psi6h")
    watched.wait_for("hyperflow:run:newest")
    loaded = watched.client.get("/api/v1/rules").json()["data"]["groups"]
    faults = {
        rule["name"]: rule.get("lastError") for group in loaded for rule in group["rules"] if rule["health"] == "err"
    }
    assert not faults
    assert {rule["name"] for group in loaded for rule in group["rules"]} >= alerts().keys()


@needs_prometheus
@pytest.mark.parametrize("model_dir", ["onnx"], indirect=True)
def test_each_query_of_the_dashboard_has_data(watched: Prometheus) -> None:
    queries = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    assert len(queries) > 20
    for query in queries:
        for name, value in {"$namespace": ".*", "$model_name": NAME, "$__rate_interval": "1m"}.items():
            query = query.replace(name, value)
        watched.wait_for(query)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_component_brings_monitor_rules_and_dashboard(tmp_path: Path) -> None:
    copy = shutil.copytree(MONITORING.parents[1], tmp_path / "manifests")
    overlay = copy / "overlays" / "standard" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("components:\n", "components:\n  - ../../components/monitoring\n"))
    built = subprocess.run(
        ["kubectl", "kustomize", overlay.parent], check=True, capture_output=True, text=True, timeout=60
    )
    ours = {each["kind"]: each for each in yaml.safe_load_all(built.stdout) if _is_monitoring(each)}
    assert ours.keys() == {"PodMonitor", "PrometheusRule", "ConfigMap"}
    assert len({each["metadata"]["namespace"] for each in ours.values()}) == 1
    assert ours["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(ours["ConfigMap"]["data"]["hyperflow.json"]) == dashboard()
    assert ours["PrometheusRule"]["spec"] == rules()


def _is_monitoring(item: dict[str, Any]) -> bool:
    return "monitoring.coreos.com" in item["apiVersion"] or item["metadata"]["name"] == "hyperflow-dashboard"
