"""Preflight: what is right is said in a line, and ten things wrong are ten rows with ten remedies."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperflow.engines.kubeflow import KubeflowEngine, preflight
from hyperflow.errors import Unavailable
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.specs import serving, training, tuning
from tests.kubeflow.store import Object
from tests.kubeflow.world import NAMESPACE, engine_on


def survey(engine: KubeflowEngine) -> dict[str, preflight.Check]:
    return {check.name: check for check in preflight.survey(engine.cluster, tuning(), serving())}


def relabel(emulator: Emulator, **labels: str) -> None:
    item = emulator.store.get(("", "namespaces"), "", NAMESPACE)
    emulator.store.replace(("", "namespaces"), "", {**item, "metadata": {**item["metadata"], "labels": labels}})


def replace_claim(emulator: Emulator, spec: Object, phase: str) -> None:
    claims = ("", "persistentvolumeclaims")
    emulator.store.delete(claims, NAMESPACE, "hyperflow")
    emulator.store.create(claims, NAMESPACE, {"metadata": {"name": "hyperflow"}, "spec": spec})
    emulator.store.set_status(claims, NAMESPACE, "hyperflow", phase=phase)


def test_cluster_that_is_ready_has_nothing_to_mend(engine: KubeflowEngine) -> None:
    checks = survey(engine)
    assert {check.status for check in checks.values()} == {"ok"}
    assert "Kubernetes v1.32.4" in checks["API server"].found
    assert "0.20 or newer" in checks["KServe"].found
    engine.check(tuning(), serving())


def test_ten_things_wrong_are_ten_rows_with_ten_remedies(emulator: Emulator, engine: KubeflowEngine) -> None:
    for group in ("kubeflow.org/v1beta1", "kubeflow.org/v1", "serving.kserve.io/v1beta1", "argoproj.io/v1alpha1"):
        del emulator.kinds[group]
    emulator.denied |= {("create", "experiments"), ("watch", "pods"), ("get", "pods/log")}
    relabel(emulator)
    replace_claim(emulator, {"accessModes": ["ReadWriteMany"], "storageClassName": "nfs"}, "Pending")
    emulator.store.delete(("serving.kserve.io", "servingruntimes"), NAMESPACE, "hyperflow")
    failed = [check for check in survey(engine).values() if check.status == "fail"]
    assert [check.name for check in failed] == [
        "Katib",
        "Training Operator",
        "KServe",
        "Kubeflow Pipelines",
        "permission experiments",
        "permission pods",
        "permission pods/log",
        "metrics collector",
        "volume claim hyperflow",
        "serving runtime hyperflow",
    ]
    assert all(check.remedy for check in failed)
    assert len({check.remedy for check in failed}) == 10
    with pytest.raises(Unavailable) as raised:
        engine.check(tuning(), serving())
    assert all(check.name in raised.value.why for check in failed)


def test_server_that_cannot_be_reached_is_the_only_row(emulator: Emulator, tmp_path: Path) -> None:
    engine = engine_on(emulator, tmp_path, patience=0.5)
    emulator.outage(60)
    (check,) = survey(engine).values()
    assert (check.name, check.status) == ("API server", "fail")
    assert check.remedy


@pytest.mark.parametrize(
    ("spec", "phase", "status", "found"),
    [
        ({"accessModes": ["ReadWriteOnce"]}, "Bound", "warn", "one node"),
        ({"accessModes": ["ReadWriteOncePod"]}, "Bound", "fail", "ReadWriteOncePod"),
        ({"accessModes": ["ReadWriteMany"]}, "Pending", "fail", "no storage class"),
        ({"accessModes": ["ReadWriteMany"], "storageClassName": "late"}, "Pending", "ok", "first pod"),
    ],
)
def test_claim(emulator: Emulator, engine: KubeflowEngine, spec: Object, phase: str, status: str, found: str) -> None:
    late = {"metadata": {"name": "late"}, "volumeBindingMode": "WaitForFirstConsumer"}
    emulator.store.create(("storage.k8s.io", "storageclasses"), "", late)
    replace_claim(emulator, spec, phase)
    check = survey(engine)["volume claim hyperflow"]
    assert check.status == status
    assert found in check.found


@pytest.mark.parametrize("label", ["istio-injection=enabled", "istio.io/dataplane-mode=ambient"])
def test_mesh_is_told(emulator: Emulator, engine: KubeflowEngine, label: str) -> None:
    relabel(emulator, **dict([label.split("=")]))
    assert survey(engine)["mesh"].status == "warn"


def test_namespace_without_the_label_is_refused_before_anything_is_made(
    emulator: Emulator, engine: KubeflowEngine
) -> None:
    relabel(emulator)
    with pytest.raises(Unavailable, match=r"never finish(.|\n)*kubectl label namespace team"):
        engine.tune(tuning())
    assert not any(request.verb == "create" for request in emulator.requests)


def test_missing_claim_and_runtime_are_refused(emulator: Emulator, engine: KubeflowEngine) -> None:
    emulator.store.delete(("", "persistentvolumeclaims"), NAMESPACE, "hyperflow")
    emulator.store.delete(("serving.kserve.io", "servingruntimes"), NAMESPACE, "hyperflow")
    with pytest.raises(Unavailable, match="volume claim"):
        engine.train(training())
    with pytest.raises(Unavailable, match="serving runtime"):
        engine.serve(serving())
    assert not any(request.verb == "create" for request in emulator.requests)


def test_namespace_that_cannot_be_read_is_a_warning(emulator: Emulator, engine: KubeflowEngine) -> None:
    emulator.denied.add(("get", "namespaces"))
    check = survey(engine)["metrics collector"]
    assert check.status == "warn"
    assert "kubectl label" in check.remedy


@pytest.mark.parametrize(
    ("fields", "version"), [((), "0.15"), (("storageUris",), "0.16"), (("storageUris", "canary"), "0.20")]
)
def test_kserve_version_is_told_from_its_schema(
    emulator: Emulator, engine: KubeflowEngine, fields: tuple[str, ...], version: str
) -> None:
    emulator.kserve_fields = fields
    assert f"version {version} or newer" in survey(engine)["KServe"].found
