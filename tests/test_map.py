"""Where each module of the package is tested: in the file of its name, or where `ELSEWHERE` says."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE, TESTS = ROOT / "hyperflow", ROOT / "tests"

ELSEWHERE: dict[str, tuple[str, ...]] = {
    "cli/cluster.py": (
        "kubeflow/test_kustomize.py",
        "kubeflow/test_preflight.py",
    ),
    "cli/local.py": ("client/test_access.py", "demo/test_predictor.py", "runner/test_whole_run.py"),
    "cli/sending.py": ("cli/test_submitting.py",),
    "client/http.py": ("client/test_access.py",),
    "client/refusals.py": ("client/test_access.py",),
    "client/reply.py": ("client/test_access.py",),
    "client/v1.py": ("client/test_access.py",),
    "datasets/__main__.py": ("datasets/test_fetch.py",),
    "datasets/arrays.py": ("datasets/test_pictures.py", "datasets/test_npz.py"),
    "datasets/files.py": ("datasets/test_sources.py",),
    "demo/gallery.py": (
        "demo/test_predictor.py",
        "browser/test_demo_page.py",
    ),
    "demo/page.py": ("browser/test_demo_page.py",),
    "demo/server.py": ("browser/test_demo_server.py",),
    "demo/views.py": ("browser/test_demo_page.py",),
    "engines/base.py": ("conformance/test_engine.py",),
    "engines/kubeflow/answer.py": ("kubeflow/test_faults.py",),
    "engines/kubeflow/approval.py": ("kubeflow/test_approval.py", "cluster/test_approval.py"),
    "engines/kubeflow/backends.py": ("kubeflow/test_backends.py",),
    "engines/kubeflow/probes.py": ("kubeflow/test_backends.py", "kubeflow/test_own_search.py"),
    "engines/kubeflow/trial_jobs.py": ("kubeflow/test_own_search.py",),
    "engines/kubeflow/tuners.py": ("kubeflow/test_own_search.py",),
    "engines/kubeflow/cluster.py": (
        "kubeflow/test_faults.py",
        "cluster/test_api_faults.py",
    ),
    "engines/kubeflow/discovery.py": ("kubeflow/test_preflight.py",),
    "engines/kubeflow/engine.py": ("conformance/test_engine.py",),
    "engines/kubeflow/evidence.py": ("kubeflow/test_starting.py",),
    "engines/kubeflow/explain.py": ("kubeflow/test_faults.py", "kubeflow/test_search.py"),
    "engines/kubeflow/headway.py": ("kubeflow/test_search.py",),
    "engines/kubeflow/incidents.py": ("kubeflow/test_incidents.py", "conformance/test_surroundings.py"),
    "engines/kubeflow/jobs.py": (
        "kubeflow/test_faults.py",
        "kubeflow/test_stopped.py",
        "cluster/test_kills.py",
    ),
    "engines/kubeflow/owner.py": (
        "kubeflow/test_kustomize.py",
        "kubeflow/test_stopped.py",
        "cluster/test_kills.py",
    ),
    "engines/kubeflow/queueing.py": ("kubeflow/test_queue.py",),
    "engines/kubeflow/reap.py": ("kubeflow/test_kustomize.py",),
    "engines/kubeflow/resources.py": ("kubeflow/test_manifests.py",),
    "engines/kubeflow/rollout.py": (
        "kubeflow/test_canary.py",
        "kubeflow/test_faults.py",
    ),
    "engines/kubeflow/serving.py": (
        "conformance/test_engine.py",
        "kubeflow/test_release.py",
    ),
    "engines/kubeflow/starting.py": ("kubeflow/test_starting.py", "conformance/test_surroundings.py"),
    "engines/kubeflow/training.py": ("conformance/test_engine.py", "kubeflow/test_starting.py"),
    "engines/kubeflow/trials.py": ("conformance/test_engine.py", "kubeflow/test_search.py"),
    "engines/kubeflow/tuning.py": ("conformance/test_engine.py", "kubeflow/test_search.py"),
    "engines/kubeflow/watch.py": (
        "kubeflow/test_faults.py",
        "kubeflow/test_stopped.py",
        "cluster/test_api_faults.py",
    ),
    "engines/kubeflow/manifests/": (
        "kubeflow/test_manifests.py",
        "kubeflow/test_command.py",
        "cluster/test_admission.py",
    ),
    "engines/kubeflow/preflight/": ("kubeflow/test_preflight.py", "kubeflow/test_retries.py"),
    "engines/local/__init__.py": ("conformance/test_engine.py",),
    "engines/local/approval.py": ("steps/test_approval.py",),
    "engines/local/guard.py": ("engines/local/test_processes.py",),
    "engines/local/service.py": ("engines/local/test_rollouts.py", "engines/local/test_failed_rollouts.py"),
    "engines/local/surroundings.py": ("steps/test_check.py",),
    "engines/local/trials.py": ("conformance/test_engine.py", "engines/local/test_search.py"),
    "engines/search/__init__.py": ("conformance/test_search.py",),
    "engines/search/checkpoints.py": ("engines/local/test_search.py", "kubeflow/test_own_search.py"),
    "engines/search/pruning.py": ("engines/local/test_search.py", "kubeflow/test_own_search.py"),
    "engines/search/search.py": ("conformance/test_engine.py", "kubeflow/test_own_search.py"),
    "engines/search/study.py": ("engines/search/test_queues.py", "kubeflow/test_own_search.py"),
    "engines/search/trials.py": ("conformance/test_engine.py", "kubeflow/test_own_search.py"),
    "engines/local/servers.py": ("engines/local/test_failed_rollouts.py",),
    "engines/local/training.py": ("conformance/test_engine.py",),
    "fashion/checkpoint.py": ("fashion/test_train.py",),
    "fashion/convolution.py": ("fashion/test_network.py", "fashion/test_train.py"),
    "fashion/events.py": ("fashion/test_train.py",),
    "fashion/export.py": ("fashion/test_train.py",),
    "fashion/learning.py": ("fashion/test_train.py",),
    "fashion/recipes.py": ("fashion/test_train.py", "fashion/test_onnx.py"),
    "fashion/watch.py": ("fashion/test_train.py",),
    "pod.py": ("datasets/test_sources.py",),
    "report/about.py": ("report/test_pages.py",),
    "report/index.py": ("report/test_pages.py",),
    "report/live.py": ("runner/test_live.py",),
    "report/plots.py": (
        "report/test_pages.py",
        "runner/test_whole_run.py",
    ),
    "report/run.py": ("runner/test_whole_run.py",),
    "runner/run.py": (
        "runner/test_whole_run.py",
        "runner/test_kill.py",
        "runner/test_faults.py",
    ),
    "runner/values.py": ("test_parameters.py",),
    "specs/entry.py": ("test_parameters.py",),
    "serving/app.py": ("serving/test_rest.py",),
    "serving/body.py": ("serving/test_hostile.py",),
    "serving/control.py": ("serving/test_start_stop.py",),
    "serving/http_server.py": ("serving/test_hostile.py",),
    "serving/limits.py": (
        "serving/test_batcher.py",
        "serving/test_hostile.py",
    ),
    "serving/logs.py": ("serving/test_rest.py",),
    "serving/metrics.py": (
        "evaluation/test_drift.py",
        "serving/test_watching.py",
        "serving/test_rest.py",
    ),
    "serving/folder.py": ("serving/test_runtimes.py", "serving/test_signatures.py"),
    "serving/onnx_model.py": ("serving/test_runtimes.py",),
    "serving/saved_model.py": ("serving/test_signatures.py",),
    "serving/server.py": ("serving/test_start_stop.py",),
    "serving/tensors.py": ("serving/test_signatures.py",),
    "serving/v1.py": (
        "serving/test_rest.py",
        "serving/test_signatures.py",
    ),
    "serving/v2.py": (
        "serving/test_rest.py",
        "serving/test_signatures.py",
    ),
    "specs/algorithms.py": ("test_parameters.py",),
    "specs/approval.py": ("steps/test_approval.py",),
    "specs/data.py": ("test_parameters.py",),
    "specs/description.py": ("steps/test_check.py", "fashion/test_arguments.py"),
    "specs/job.py": ("test_parameters.py",),
    "specs/placement.py": ("test_parameters.py",),
    "specs/rules.py": ("test_parameters.py",),
    "specs/search.py": ("test_parameters.py",),
    "specs/serve.py": ("test_parameters.py",),
    "specs/space.py": ("test_parameters.py",),
    "specs/train.py": ("test_parameters.py",),
    "specs/tune.py": ("test_parameters.py",),
    "specs/verdict.py": ("test_parameters.py",),
    "steps/context.py": (
        "runner/test_kill.py",
        "runner/test_whole_run.py",
    ),
    "steps/decide.py": ("steps/test_release.py",),
    "steps/deploy.py": (
        "steps/test_release.py",
        "engines/local/test_rollouts.py",
    ),
    "steps/load_data.py": ("runner/test_whole_run.py",),
    "steps/predict.py": (
        "kubeflow/test_release.py",
        "engines/local/test_rollouts.py",
    ),
    "steps/registration.py": ("kubeflow/test_release.py", "cli/test_registering.py"),
    "steps/train.py": ("runner/test_whole_run.py",),
    "steps/tune.py": ("runner/test_whole_run.py",),
    "steps/turn.py": ("steps/test_release.py",),
    "telemetry.py": ("serving/test_tracing.py", "steps/test_trace.py"),
    "translation.py": ("test_parameters.py",),
    "tracking/registry.py": ("tracking/test_versions.py", "cluster/test_registry.py"),
    "tracking/rest.py": ("tracking/test_client.py", "tracking/test_versions.py"),
    "volume/approvals.py": ("steps/test_approval.py", "kubeflow/test_approval.py"),
    "volume/cards.py": ("steps/test_plan.py",),
    "volume/evaluation.py": ("evaluation/test_compare.py",),
    "volume/records.py": (
        "report/test_pages.py",
        "runner/test_whole_run.py",
    ),
}
"""Modules, and with a stroke at the end whole folders, whose tests have another name: those work on several, or on
whole programs."""

WHOLE: tuple[str, ...] = (
    "demo/test_manifests.py",
    "runner/test_own_data.py",
    "runner/test_approval.py",
    "runner/test_month.py",
    "steps/test_plan_inputs.py",
    "test_map.py",
    "test_version.py",
    "tracking/test_real.py",
)
"""Test files in the mirror that are about no module of their own."""


def modules() -> set[str]:
    """List the modules that have something to test: all but those that only gather names."""
    return {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if _works(path)}


def mirrored(module: str) -> str:
    """Return where a module's own tests are, or would be."""
    path = Path(module)
    name = path.parent.name if path.name == "__init__.py" else path.stem
    return str(path.with_name(f"test_{name.strip('_')}.py"))


def elsewhere(module: str) -> tuple[str, ...]:
    """Return the files that test a module under another name."""
    return ELSEWHERE.get(module) or ELSEWHERE.get(f"{Path(module).parent}/", ())


def _works(path: Path) -> bool:
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(each, (ast.FunctionDef, ast.ClassDef)) for each in statements)


def test_each_module_is_tested_in_a_file_of_its_name_or_elsewhere() -> None:
    missing = {each for each in modules() if not elsewhere(each) and not (TESTS / mirrored(each)).exists()}
    assert not missing, "add tests, or say in ELSEWHERE which test these"


def test_elsewhere_names_what_there_is() -> None:
    assert not {each for each in ELSEWHERE if not (PACKAGE / each).exists()}, "these modules are no more"
    files = {file for named in ELSEWHERE.values() for file in named}
    assert not {file for file in files if not (TESTS / file).is_file()}, "these test files are no more"


def test_elsewhere_is_not_for_what_has_its_own_file() -> None:
    assert not {each for each in ELSEWHERE if (TESTS / mirrored(each)).exists()}


def test_each_test_in_the_mirror_is_about_a_module() -> None:
    rooms = {Path(each).parent for each in modules()}
    files = {str(path.relative_to(TESTS)) for room in rooms for path in (TESTS / room).glob("test_*.py")}
    named = {mirrored(each) for each in modules()} | {file for named in ELSEWHERE.values() for file in named}
    assert not files - named - set(WHOLE), "name these where they belong"
