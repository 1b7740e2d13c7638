"""Preflight: what is right is said in a line, and ten things wrong are ten rows with ten remedies."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hyperflow.engines.kubeflow import KubeflowEngine, create, preflight
from hyperflow.engines.kubeflow.preflight import serving as reachable
from hyperflow.errors import InvalidParameter, Unavailable
from hyperflow.specs import Compute, EarlyStopping, ServeSpec, Trainer
from tests.kubeflow.emulator import Emulator
from tests.kubeflow.specs import serving, trainer, training, tuning
from tests.kubeflow.store import Object
from tests.kubeflow.world import NAMESPACE, engine_on, install


def survey(engine: KubeflowEngine) -> dict[str, preflight.Check]:
    """Survey for a run that asks for Katib and for TFJobs by name."""
    specs = tuning(), training(), serving()
    return {check.name: check for check in engine.survey(*specs)}


def relabel(emulator: Emulator, **labels: str) -> None:
    item = emulator.store.get(("", "namespaces"), "", NAMESPACE)
    emulator.store.replace(("", "namespaces"), "", {**item, "metadata": {**item["metadata"], "labels": labels}})


def replace_claim(emulator: Emulator, spec: Object, phase: str) -> None:
    claims = ("", "persistentvolumeclaims")
    emulator.store.delete(claims, NAMESPACE, "hyperflow")
    emulator.store.create(claims, NAMESPACE, {"metadata": {"name": "hyperflow"}, "spec": spec})
    emulator.store.set_status(claims, NAMESPACE, "hyperflow", phase=phase)


def test_cluster_that_is_ready_has_nothing_to_mend(emulator: Emulator, engine: KubeflowEngine) -> None:
    install(emulator)
    checks = survey(engine)
    assert {check.status for check in checks.values()} == {"ok"}
    assert "Kubernetes v1.32.4" in checks["API server"].found
    assert "0.20 or newer" in checks["KServe"].found
    engine.check(tuning(), training(), serving())


def test_each_thing_that_is_wrong_is_a_row_with_a_remedy_of_its_own(emulator: Emulator, engine: KubeflowEngine) -> None:
    for group in ("kubeflow.org/v1beta1", "kubeflow.org/v1", "serving.kserve.io/v1beta1", "argoproj.io/v1alpha1"):
        del emulator.kinds[group]
    emulator.denied |= {("create", "experiments"), ("watch", "pods"), ("get", "pods/log")}
    relabel(emulator)
    replace_claim(emulator, {"accessModes": ["ReadWriteMany"], "storageClassName": "nfs"}, "Pending")
    emulator.store.delete(("serving.kserve.io", "servingruntimes"), NAMESPACE, "hyperflow")
    failed = [check for check in survey(engine).values() if check.status == "fail"]
    assert [check.name for check in failed] == [
        "tuner",
        "training backend",
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
    assert len({check.remedy for check in failed}) == 12
    with pytest.raises(Unavailable) as raised:
        engine.check(tuning(), training(), serving())
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


def test_judging_asks_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    engine = create()
    engine.judge(tuning(), training(), serving())
    with pytest.raises(InvalidParameter) as refused:
        engine.judge(tuning(trainer=Trainer(("python",))), training(), serving())
    assert refused.value.name == "trainer_image"


def test_claim_is_for_the_pods_of_the_training_too(emulator: Emulator, engine: KubeflowEngine) -> None:
    replace_claim(emulator, {"accessModes": ["ReadWriteOnce"]}, "Bound")
    train = training(workers=20, parameter_servers=2, evaluator=True)
    checks = {check.name: check for check in engine.survey(tuning(), train, serving())}
    assert "for up to 24 pods at once" in checks["volume claim hyperflow"].found


@pytest.mark.parametrize("label", ["istio-injection=enabled", "istio.io/dataplane-mode=ambient"])
def test_mesh_is_told_until_the_policy_is_there(emulator: Emulator, engine: KubeflowEngine, label: str) -> None:
    relabel(emulator, **dict([label.split("=")]))
    check = survey(engine)["mesh"]
    assert check.status == "warn"
    assert f"kubectl apply -n {NAMESPACE} -f manifests/components/mesh/policies.yaml" in check.remedy
    emulator.denied.add(("get", "authorizationpolicies"))
    assert "cannot be read" in survey(engine)["mesh"].found
    emulator.denied.clear()
    policies = ("security.istio.io", "authorizationpolicies")
    emulator.store.create(policies, NAMESPACE, {"metadata": {"name": "hyperflow-predictor"}})
    assert survey(engine)["mesh"].status == "ok"


def test_remedies_name_files_that_are_there() -> None:
    """A remedy that cannot be followed is worse than none."""
    root = Path(__file__).parents[2]
    sources = (root / "hyperflow" / "engines" / "kubeflow" / "preflight").glob("*.py")
    named = {path for source in sources for path in re.findall(r"manifests/[\w./-]+\w", source.read_text())}
    assert len(named) >= 3
    assert [path for path in named if not (root / path).exists()] == []


def test_kinds_without_their_controller_are_told(emulator: Emulator, engine: KubeflowEngine) -> None:
    """An upgrade to Kubeflow 1.11 leaves the CRD of TFJob behind, and nobody who acts on it."""
    install(emulator)
    emulator.store.delete(("apps", "deployments"), "kubeflow", "training-operator")
    checks = survey(engine)
    assert {name for name, check in checks.items() if check.status != "ok"} == {"Training Operator"}
    assert checks["Training Operator"].status == "warn"
    assert "no Deployment training-operator in kubeflow" in checks["Training Operator"].found


def restrict(emulator: Emulator) -> None:
    labels = {preflight.COLLECTOR_LABEL: "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
    relabel(emulator, **labels)


def configure_katib(emulator: Emulator, config: Object) -> None:
    item = {"metadata": {"name": "katib-config"}, "data": {"katib-config.yaml": yaml.safe_dump(config)}}
    emulator.store.create(("", "configmaps"), "kubeflow", item)


def test_katibs_own_containers_must_pass_a_restricted_namespace(emulator: Emulator, engine: KubeflowEngine) -> None:
    restrict(emulator)
    check = survey(engine)["pod security"]
    assert (check.status, "injectSecurityContext" in check.remedy) == ("warn", True)
    suggestions: list[Object] = [{"algorithmName": "random"}, {"algorithmName": "tpe"}]
    configure_katib(emulator, {"init": {"controller": {}}, "runtime": {"suggestions": suggestions}})
    check = survey(engine)["pod security"]
    assert check.status == "fail"
    assert "collector" in check.found
    assert "suggestion service of random" in check.found
    assert "injectSecurityContext: true" in check.remedy
    assert "runtime.suggestions[random]" in check.remedy


def test_katib_that_gives_security_contexts_will_do(emulator: Emulator, engine: KubeflowEngine) -> None:
    restrict(emulator)
    suggestions = [{"algorithmName": "random", "securityContext": {"runAsNonRoot": True}}]
    controller = {"controller": {"injectSecurityContext": True}}
    configure_katib(emulator, {"init": controller, "runtime": {"suggestions": suggestions}})
    assert survey(engine)["pod security"].status == "ok"
    stopping = replace(tuning(), early_stopping=EarlyStopping())
    checks = {check.name: check for check in engine.survey(stopping, training(), serving())}
    assert checks["pod security"].status == "fail"
    assert "early_stopping" in checks["pod security"].remedy


@pytest.fixture
def knative(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's pod in a cluster whose KServe uses Knative."""
    emulator.kinds["serving.knative.dev/v1"] = ("services",)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")


@pytest.mark.usefixtures("knative")
def test_a_gateway_that_takes_no_connection_is_for_the_admin_to_open(
    engine: KubeflowEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network policy drops what it forbids; a socket whose queue is full answers as little."""
    monkeypatch.setattr(reachable, "_PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as gateway:
        address = gateway.getsockname()
        monkeypatch.setattr(reachable, "LOCAL_GATEWAY", address)
        assert survey(engine)["local gateway"].status == "ok"
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        check = survey(engine)["local gateway"]
        for each in waiting:
            each.close()
    assert check.status == "fail"
    assert "timed out" in check.found
    assert "manifests/admin/local-gateway.yaml" in check.remedy


@pytest.mark.usefixtures("knative")
def test_a_cluster_without_that_gateway_does_without(engine: KubeflowEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachable, "LOCAL_GATEWAY", ("gateway.invalid", 80))
    assert survey(engine)["local gateway"].status == "ok"


@pytest.mark.usefixtures("knative")
class TestKnativesFeatures:
    PLACED = serving(compute=Compute(node_selector={"pool": "cpu"}, tolerations=({"key": "pool"},)))

    def features(self, engine: KubeflowEngine, spec: ServeSpec = PLACED) -> preflight.Check:
        found = {check.name: check for check in preflight.for_serving(engine.cluster, spec)}
        return found["Knative's features"]

    def set_flags(self, emulator: Emulator, **flags: str) -> None:
        data = {f"kubernetes.podspec-{name.replace('_', '-')}": value for name, value in flags.items()}
        item: Object = {"metadata": {"name": "config-features"}, "data": data}
        emulator.store.create(("", "configmaps"), "knative-serving", item)

    def test_placement_is_refused_by_stock_knative(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.set_flags(emulator)
        with pytest.raises(
            Unavailable, match=r"podspec-nodeselector(.|\n)*leave out serving_node_selector and serving_t"
        ):
            engine.serve(self.PLACED)
        assert self.features(engine, serving()).status == "ok"

    def test_flags_that_are_on_will_do(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.set_flags(emulator, nodeselector="Enabled", tolerations="allowed")
        assert self.features(engine).status == "ok"

    def test_temporary_folder_may_be_refused_too(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.set_flags(emulator, volumes_emptydir="disabled")
        check = self.features(engine, serving())
        assert (check.status, "volumes-emptydir" in check.found) == ("fail", True)

    def test_a_log_on_the_claim_needs_flags_of_its_own(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.set_flags(emulator, persistent_volume_claim="enabled")
        check = self.features(engine, serving(log_payloads="payloads"))
        assert (check.status, "persistent-volume-write is off" in check.found) == ("fail", True)
        assert "leave out the folder of log_payloads, or" in check.remedy
        assert self.features(engine, serving(log_payloads="https://broker.example.org")).status == "ok"

    def test_flags_that_may_not_be_read_are_named(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        emulator.denied.add(("get", "configmaps"))
        check = self.features(engine)
        assert (check.status, "podspec-tolerations" in check.found) == ("warn", True)
        assert self.features(engine, serving()).status == "ok"

    def test_standard_mode_has_no_such_flags(self, engine: KubeflowEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HYPERFLOW_DEPLOYMENT_MODE", "Standard")
        assert self.features(engine).status == "ok"


def test_namespace_without_the_label_is_refused_before_anything_is_made(
    emulator: Emulator, engine: KubeflowEngine
) -> None:
    relabel(emulator)
    with pytest.raises(Unavailable, match=r"Katib refuses(.|\n)*kubectl label namespace team"):
        engine.tune(tuning())
    assert not any(request.verb == "create" and request.is_kept for request in emulator.requests)


def test_missing_claim_and_runtime_are_refused(emulator: Emulator, engine: KubeflowEngine) -> None:
    emulator.store.delete(("", "persistentvolumeclaims"), NAMESPACE, "hyperflow")
    emulator.store.delete(("serving.kserve.io", "servingruntimes"), NAMESPACE, "hyperflow")
    with pytest.raises(Unavailable, match="volume claim"):
        engine.train(training())
    with pytest.raises(Unavailable, match="serving runtime"):
        engine.serve(serving())
    assert not any(request.verb == "create" and request.is_kept for request in emulator.requests)


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


def test_check_refuses_gpus_that_would_stay_idle(emulator: Emulator, engine: KubeflowEngine) -> None:
    image = replace(trainer(), image="hyperflow-model:0.1.0")
    with pytest.raises(InvalidParameter, match="gpus"):
        engine.check(tuning(trainer=image, compute=Compute(gpus=1)), training(), serving())
    with pytest.raises(InvalidParameter, match="serving_gpus"):
        engine.check(tuning(), training(), serving(image="hyperflow-model:0.1.0", compute=Compute(gpus=1)))
    assert not any(request.verb == "create" and request.resource != ACCESS for request in emulator.requests)


ACCESS = "selfsubjectaccessreviews"


def test_cluster_without_operators_will_do(emulator: Emulator, engine: KubeflowEngine) -> None:
    for group in ("kubeflow.org/v1beta1", "kubeflow.org/v1", "trainer.kubeflow.org/v1alpha1"):
        del emulator.kinds[group]
    relabel(emulator)
    specs = tuning(tuner="auto"), training(training_backend="auto"), serving()
    checks = {check.name: check for check in engine.survey(*specs)}
    assert "Job" in checks["training backend"].found
    assert "the step searches" in checks["tuner"].found
    assert not {"Katib", "Training Operator", "Kubeflow Trainer", "metrics collector"} & checks.keys()
    assert {check.status for check in checks.values()} <= {"ok", "warn"}


def test_trainjobs_without_our_runtime_are_refused(emulator: Emulator, engine: KubeflowEngine) -> None:
    emulator.store.delete(("trainer.kubeflow.org", "trainingruntimes"), NAMESPACE, "hyperflow")
    with pytest.raises(Unavailable, match="training-runtimes"):
        engine.train(training(training_backend="trainjob"))
    assert not any(request.verb == "create" and request.is_kept for request in emulator.requests)


class TestQuota:
    def limit(
        self, emulator: Emulator, used: dict[str, str] | None = None, scopes: tuple[str, ...] = (), **hard: str
    ) -> None:
        """Give the namespace a quota; `requests_cpu` stands for `requests.cpu`, `requests_gpu` for NVIDIA's."""
        tracked = {
            name.replace("_", ".").replace(".gpu", ".nvidia.com/gpu").replace("count.", "count/"): amount
            for name, amount in hard.items()
        }
        spec: Object = {"hard": tracked, **({"scopes": list(scopes)} if scopes else {})}
        item: Object = {"metadata": {"name": "compute"}, "spec": spec, "status": {"hard": tracked, "used": used or {}}}
        emulator.store.create(("", "resourcequotas"), NAMESPACE, item)

    def check(self, engine: KubeflowEngine, **changes: Compute | int) -> preflight.Check:
        checks = engine.survey(tuning(), training(**changes), serving())
        return next(check for check in checks if check.name == "quota")

    @pytest.mark.parametrize(
        ("hard", "changes", "found", "lower"),
        [
            ({"requests_cpu": "3"}, {"workers": 4}, "4 pods at one time with requests.cpu=1 each", "cpu or workers"),
            ({"limits_memory": "6G"}, {"workers": 3}, "limits.memory=2Gi each", "memory or workers"),
            ({"cpu": "1500m"}, {"compute": Compute(cpu="2")}, "compute allows cpu=1500m", "cpu or workers"),
            ({"requests_gpu": "0"}, {"compute": Compute(gpus=1)}, "requests.nvidia.com/gpu=1 each", "gpus or workers"),
            ({"pods": "2"}, {"workers": 2, "parameter_servers": 1}, "3 pods at one time, and", "lower workers, or"),
        ],
    )
    def test_one_that_is_too_small_for_a_training_is_named(
        self, emulator: Emulator, engine: KubeflowEngine, hard: dict[str, str], changes: dict[str, Compute | int],
        found: str, lower: str,
    ) -> None:  # fmt: skip
        self.limit(emulator, **hard)
        check = self.check(engine, **changes)
        assert check.status == "fail"
        assert found in check.found
        assert "the training needs" in check.found
        assert lower in check.remedy
        assert f"kubectl -n {NAMESPACE} edit resourcequota compute" in check.remedy

    def test_one_that_is_just_large_enough_will_do(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        assert self.check(engine).found == "none in this namespace"
        self.limit(emulator, requests_cpu="4", requests_memory="8192Mi", requests_gpu="0", count_secrets="1")
        assert self.check(engine, workers=4).status == "ok"

    def test_what_is_in_use_may_come_free(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.limit(emulator, used={"cpu": "3500m"}, cpu="4")
        check = self.check(engine)
        assert check.status == "warn"
        assert "cpu=4, of which 3500m is in use: it would wait" in check.found

    def test_trials_may_run_one_after_another(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.limit(emulator, limits_cpu="5")
        found = {check.name: check for check in preflight.for_tuning(
            engine.cluster, tuning(workers=2, parallel_trials=4, training_backend="tfjob"), "katib"
        )}["quota"]  # fmt: skip
        assert (found.status, found.found) == ("warn", "compute allows limits.cpu=5: 4 pods of 8 at one time")
        assert "lower cpu or parallel_trials" in found.remedy

    def test_the_service_has_parameters_of_its_own(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.limit(emulator, memory="3Gi")
        with pytest.raises(Unavailable, match=r"the service needs 2 pods(.|\n)*lower serving_memory or min_replicas"):
            engine.serve(serving(min_replicas=2, max_replicas=2))

    def test_nothing_is_made_for_what_it_would_refuse(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.limit(emulator, pods="1")
        with pytest.raises(Unavailable, match="the training needs 2 pods at one time, and compute allows pods=1"):
            engine.train(training(workers=2))
        with pytest.raises(Unavailable, match="a trial needs 2 pods"):
            engine.tune(tuning(workers=2))
        assert not any(request.verb == "create" and request.is_kept for request in emulator.requests)

    def test_one_of_some_pods_only_is_passed_over(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        self.limit(emulator, scopes=("BestEffort",), pods="0")
        assert (self.check(engine).status, self.check(engine).found) == ("ok", "none that is of all pods")

    def test_one_that_may_not_be_read_is_told(self, emulator: Emulator, engine: KubeflowEngine) -> None:
        emulator.denied.add(("list", "resourcequotas"))
        check = self.check(engine)
        assert (check.status, "cannot be read" in check.found) == ("warn", True)
