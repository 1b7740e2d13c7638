"""A run's steps where the API server has no TFJobs, TrainJobs or Experiments: from the data to a served model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperflow.engines.local import processes
from hyperflow.parameters import Parameters
from hyperflow.steps import begin, check, decide, deploy, load_data, predict, train, tune
from tests.cluster import world as worlds
from tests.cluster.controlplane import control_plane
from tests.cluster.world import KSERVE, World, cluster_world, need, start_on
from tests.kubeflow.store import Refusal

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

SMALL = Path(__file__).parents[1] / "data" / "fashion-mnist-small"
GONE = ("kubeflow.org", "trainer.kubeflow.org", "jobset.x-k8s.io")


@pytest.fixture
def bare_world(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Give a namespace of a cluster with KServe, and with no operator that trains or tunes."""
    need(KSERVE)
    monkeypatch.setenv("HYPERFLOW_ENGINE", "kubeflow")
    with contextlib.ExitStack() as stack:
        parts = start_on(stack.enter_context(control_plane()), stack, GONE)
        monkeypatch.setattr(worlds, "machinery", lambda: parts)
        stack.enter_context(processes.launcher())
        yield stack.enter_context(cluster_world(tmp_path))


def test_steps_run_to_a_served_model(bare_world: World, tmp_path: Path) -> None:
    for group in ("kubeflow.org/v1", "kubeflow.org/v1beta1", "trainer.kubeflow.org/v1alpha1"):
        with pytest.raises(Refusal):
            bare_world.api.get(f"/apis/{group}")
    parameters = Parameters.complete(
        {
            "data_source": str(SMALL), "dataset": "small", "model_name": "m", "trainer_image": "trainer:1",
            "trainer_arguments": {"model": "mlp"}, "trial_arguments": {}, "max_trials": 2, "trial_workers": 2,
            "epochs": 2, "workers": 2, "serving_image": "predictor:1", "accuracy_floor": 0.1, "smoke_instances": 20,
            "smoke_accuracy_floor": 0.1, "smoke_p99_ms": 60000.0,
        }
    )  # fmt: skip
    page = str(tmp_path / "page")
    with begin("check", "run-1") as step:
        check.run(step, parameters)
    with begin("load_data", "run-1") as step:
        data = str(load_data.run(step, parameters).path)
    with begin("tune", "run-1") as step:
        found = tune.run(step, parameters, data, page)
    with begin("train", "run-1") as step:
        model = train.run(step, parameters, data, found.best.parameters, True, page).model
    with begin("decide", "run-1") as step:
        assert decide.run(step, parameters, model, data)[0].deploy
    with begin("deploy", "run-1") as step:
        endpoint = deploy.run(step, parameters, model)
    with begin("predict", "run-1") as step:
        tested, where = predict.run(step, parameters, endpoint, data, page)
    assert where.model == model
    assert tested.accuracy >= 0.1
    assert {job["metadata"]["name"] for job in bare_world.items("jobs")} >= {
        "tune-run-1-000", "tune-run-1-001", "train-run-1",
    }  # fmt: skip
