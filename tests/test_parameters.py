"""A hundred bad values: each refused by name, with what would do, before anything is created."""

from __future__ import annotations

import importlib
import inspect
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from hyperflow import translation
from hyperflow.errors import InvalidParameter
from hyperflow.parameters import TABLE, Parameters
from hyperflow.runner import read_values
from hyperflow.specs import ModelRef
from hyperflow.specs.space import read_space

PIPELINE = Path(__file__).parents[1] / "build" / "train_and_serve.yaml"


def names(pipeline: str) -> list[str]:
    """Return the parameters that a pipeline has."""
    return [name for name, entry in TABLE.items() if pipeline == "retrain" or not entry.recurring]


def space(**entry: object) -> dict[str, Any]:
    return {"search_space": {"x": entry}}


DOUBLE = {"type": "double", "min": 0.1, "max": 1.0}

BAD: list[tuple[dict[str, Any], str]] = [
    ({"data_source": ""}, "data_source"),
    ({"dataset": ""}, "dataset"),
    ({"dataset": "../up"}, "dataset"),
    ({"dataset": ".hidden"}, "dataset"),
    ({"tracking_uri": "mlflow:5000"}, "tracking_uri"),
    ({"tracking_uri": "file:/mlruns"}, "tracking_uri"),
    ({"tracking_uri": "http://ann:s3cret@mlflow"}, "tracking_uri"),
    ({"tracking_uri": 5000}, "tracking_uri"),
    ({"claim": ""}, "claim"),
    ({"claim": "has.dots"}, "claim"),
    ({"claim": "Upper"}, "claim"),
    ({"claim": "c" * 64}, "claim"),
    ({"model_name": ""}, "model_name"),
    ({"model_name": "1st"}, "model_name"),
    ({"model_name": "ends-"}, "model_name"),
    ({"model_name": "under_score"}, "model_name"),
    ({"model_name": "m" * 41}, "model_name"),
    ({"model_name": "a/b"}, "model_name"),
    ({"trainer_command": []}, "trainer_command"),
    ({"trainer_command": "python train.py"}, "trainer_command"),
    ({"trainer_command": ["python", ""]}, "trainer_command"),
    ({"trainer_command": [3]}, "trainer_command"),
    ({"trainer_arguments": {"two words": 1}}, "trainer_arguments"),
    ({"trainer_arguments": {"--dashes": 1}}, "trainer_arguments"),
    ({"trainer_arguments": [1]}, "trainer_arguments"),
    ({"trial_arguments": {"a=b": 1}}, "trial_arguments[a=b]"),
    ({"trainer_arguments": {"x": [1]}}, "trainer_arguments[x]"),
    ({"trial_arguments": "x"}, "trial_arguments"),
    ({"search_space": {}}, "search_space"),
    ({"search_space": []}, "search_space"),
    ({"search_space": {"x": 3}}, "search_space[x]"),
    ({"search_space": {"x": {}}}, "search_space[x]"),
    ({"search_space": {"bad name": DOUBLE}}, "search_space"),
    ({"search_space": {"data-path": DOUBLE}}, "search_space"),
    ({"search_space": {"model-path": DOUBLE}}, "search_space"),
    (space(type="real", min=0, max=1), "search_space[x].type"),
    (space(type="double", min=0), "search_space[x].max"),
    (space(type="double", max=1), "search_space[x].min"),
    (space(type="double", min=2, max=1), "search_space[x].min"),
    (space(type="double", min=1, max=1), "search_space[x].max"),
    (space(type="int", min=3, max=3.0), "search_space[x].max"),
    (space(type="double", min="0", max=1), "search_space[x].min"),
    (space(type="double", min=0, max=math.inf), "search_space[x].max"),
    (space(type="double", min=math.nan, max=1), "search_space[x].min"),
    (space(type="double", min=0, max=1, step=-0.1), "search_space[x].step"),
    (space(type="double", min=0, max=1, values=[1]), "search_space[x].values"),
    (space(type="double", min=0, max=1, distribution="normal"), "search_space[x].distribution"),
    (space(type="double", min=0, max=1, distribution="logUniform"), "search_space[x].min"),
    (space(type="double", min=1, max=2, step=0.5, distribution="logUniform"), "search_space[x].step"),
    (space(type="double", min=0, max=1, unit="m"), "search_space[x].unit"),
    (space(type="double", min=True, max=1), "search_space[x].min"),
    (space(type="int", min=0.5, max=3), "search_space[x].min"),
    (space(type="int", min=0, max=2.5), "search_space[x].max"),
    (space(type="int", min=3, max=1), "search_space[x].min"),
    (space(type="int", min=0, max=4, step=0.5), "search_space[x].step"),
    (space(type="discrete"), "search_space[x].values"),
    (space(type="discrete", values=[]), "search_space[x].values"),
    (space(type="discrete", values=[1, 1]), "search_space[x].values"),
    (space(type="discrete", values=["a"]), "search_space[x].values"),
    (space(type="discrete", values="12"), "search_space[x].values"),
    (space(type="discrete", values=[1], min=0), "search_space[x].type"),
    (space(type="categorical", values=[1]), "search_space[x].values"),
    (space(type="categorical", values=[""]), "search_space[x].values"),
    (space(type="categorical", values=["a\nb"]), "search_space[x].values"),
    (space(type="categorical", values=["a", "a"]), "search_space[x].values"),
    ({"algorithm": "annealing"}, "algorithm"),
    ({"algorithm": "TPE"}, "algorithm"),
    ({"algorithm_settings": {"temperature": "1"}}, "algorithm_settings[temperature]"),
    ({"algorithm_settings": {"gamma": "much"}}, "algorithm_settings[gamma]"),
    ({"algorithm_settings": {"gamma": "nan"}}, "algorithm_settings[gamma]"),
    ({"algorithm": "random", "algorithm_settings": {"gamma": "1"}}, "algorithm_settings[gamma]"),
    ({"algorithm_settings": {"gamma": 2}}, "algorithm_settings[gamma]"),
    ({"algorithm_settings": {"gamma": 0}}, "algorithm_settings[gamma]"),
    ({"algorithm_settings": {"prior_weight": 0}}, "algorithm_settings[prior_weight]"),
    ({"algorithm_settings": {"n_EI_candidates": 0}}, "algorithm_settings[n_EI_candidates]"),
    ({"algorithm_settings": {"n_EI_candidates": 2.5}}, "algorithm_settings[n_EI_candidates]"),
    ({"algorithm_settings": {"random_state": -1}}, "algorithm_settings[random_state]"),
    ({"algorithm_settings": {"random_state": 1.5}}, "algorithm_settings[random_state]"),
    ({"algorithm_settings": {"random_state": "1e3"}}, "algorithm_settings[random_state]"),
    ({"algorithm_settings": {"random_state": 2**32}}, "algorithm_settings[random_state]"),
    ({"algorithm_settings": {"random_state": True}}, "algorithm_settings[random_state]"),
    (
        {"algorithm": "multivariate-tpe", "algorithm_settings": {"n_ei_candidates": 0}},
        "algorithm_settings[n_ei_candidates]",
    ),
    ({"algorithm": "cmaes", "algorithm_settings": {"sigma": -1}}, "algorithm_settings[sigma]"),
    ({"algorithm": "cmaes", "algorithm_settings": {"restart_strategy": "often"}}, "algorithm_settings[restart"),
    ({"algorithm": "hyperband", "algorithm_settings": {"r_l": 0.5, "resource_name": "x"}}, "algorithm_settings[r_l]"),
    (
        {"algorithm": "hyperband", "algorithm_settings": {"r_l": 9, "resource_name": "x", "eta": 1}},
        "algorithm_settings[eta]",
    ),
    ({"algorithm": "grid", **space(type="double", min=0, max=1, step=1e-9)}, "search_space[x].step"),
    ({"algorithm": "grid", **space(type="int", min=0, max=1e9)}, "search_space[x].step"),
    ({"algorithm": "grid"}, "search_space[dropout_rate].step"),
    ({"algorithm": "grid", "max_trials": 5, **space(type="int", min=1, max=4)}, "max_trials"),
    ({"algorithm": "cmaes", **space(**DOUBLE)}, "algorithm"),
    ({"algorithm": "cmaes", **space(type="categorical", values=["a"])}, "algorithm"),
    ({"algorithm": "hyperband"}, "algorithm_settings"),
    ({"algorithm": "hyperband", "algorithm_settings": {"r_l": "4", "resource_name": "x"}}, "resource_name"),
    ({"objective_metric": ""}, "objective_metric"),
    ({"objective_metric": "val/accuracy"}, "objective_metric"),
    ({"objective_metric": "val.accuracy"}, "objective_metric"),
    ({"objective_type": "max"}, "objective_type"),
    ({"objective_goal": "high"}, "objective_goal"),
    ({"objective_goal": "inf"}, "objective_goal"),
    ({"max_trials": 0}, "max_trials"),
    ({"max_trials": -1}, "max_trials"),
    ({"max_trials": 2.5}, "max_trials"),
    ({"max_trials": True}, "max_trials"),
    ({"parallel_trials": 0}, "parallel_trials"),
    ({"max_failed_trials": -1}, "max_failed_trials"),
    ({"trial_epochs": 0}, "'trial_epochs'"),
    ({"trial_workers": 0}, "'trial_workers'"),
    ({"early_stopping_settings": {"patience": 1}}, "early_stopping_settings[patience]"),
    ({"early_stopping_settings": {"start_step": 0}}, "early_stopping_settings[start_step]"),
    ({"early_stopping_settings": {"min_trials_required": 1.5}}, "early_stopping_settings[min_trials_required]"),
    ({"tune_timeout": 0}, "'tune_timeout'"),
    ({"epochs": -1}, "epochs"),
    ({"epochs": "10"}, "epochs"),
    ({"workers": 0}, "workers"),
    ({"workers": 101}, "workers"),
    ({"parameter_servers": -1}, "parameter_servers"),
    ({"train_retries": -1}, "train_retries"),
    ({"train_timeout": -5}, "'train_timeout'"),
    ({"cpu": "two"}, "cpu"),
    ({"cpu": 2}, "cpu"),
    ({"memory": "4 GB"}, "memory"),
    ({"memory": "-4Gi"}, "memory"),
    ({"gpus": -1}, "gpus"),
    ({"gpus": 0.5}, "gpus"),
    ({"node_selector": "zone=a"}, "node_selector"),
    ({"tolerations": "all"}, "tolerations"),
    ({"tolerations": ["all"]}, "tolerations"),
    ({"node_selector": {"gpu": True}}, "node_selector[gpu]"),
    ({"node_selector": {"zone": 1.0}}, "node_selector[zone]"),
    ({"node_selector": {"zone": "a b"}}, "node_selector[zone]"),
    ({"node_selector": {"a b": "c"}}, "node_selector"),
    ({"tolerations": [{"key": "gpu", "op": "Exists"}]}, "tolerations[op]"),
    ({"tolerations": [{"key": "gpu", "operator": "In"}]}, "tolerations[operator]"),
    ({"tolerations": [{"key": "gpu", "effect": "Never"}]}, "tolerations[effect]"),
    ({"tolerations": [{"key": "gpu", "operator": "Exists", "value": "a100"}]}, "tolerations[value]"),
    ({"tolerations": [{"key": "gpu", "value": True}]}, "tolerations[value]"),
    ({"tolerations": [{"value": "a100"}]}, "tolerations[key]"),
    ({"tolerations": [{}]}, "tolerations[key]"),
    ({"tolerations": [{"key": "gpu", "tolerationSeconds": 3}]}, "tolerations[tolerationSeconds]"),
    (
        {"tolerations": [{"key": "gpu", "effect": "NoExecute", "tolerationSeconds": "3"}]},
        "tolerations[tolerationSeconds]",
    ),
    ({"image_pull_secret": "Not A Name"}, "image_pull_secret"),
    ({"accuracy_floor": 1.1}, "accuracy_floor"),
    ({"accuracy_floor": -0.1}, "accuracy_floor"),
    ({"accuracy_floor": "0.9"}, "accuracy_floor"),
    ({"accuracy_floor": math.nan}, "accuracy_floor"),
    ({"serving_runtime": "triton"}, "serving_runtime"),
    ({"serving_cpu": "two"}, "serving_cpu"),
    ({"serving_memory": "4 GB"}, "serving_memory"),
    ({"serving_gpus": -1}, "serving_gpus"),
    ({"serving_node_selector": "zone=a"}, "serving_node_selector"),
    ({"serving_tolerations": ["all"]}, "serving_tolerations"),
    ({"min_replicas": -1}, "min_replicas"),
    ({"max_replicas": 0}, "max_replicas"),
    ({"min_replicas": 3, "max_replicas": 2}, "min_replicas"),
    ({"scale_metric": "requests"}, "scale_metric"),
    ({"scale_target": -1}, "scale_target"),
    ({"scale_target": 2**31}, "scale_target"),
    ({"scale_target": 0.5}, "scale_target"),
    ({"canary_percent": 0}, "canary_percent"),
    ({"canary_percent": 101}, "canary_percent"),
    ({"deploy_timeout": 0}, "deploy_timeout"),
    ({"smoke_instances": 0}, "smoke_instances"),
    ({"smoke_instances": 10.5}, "smoke_instances"),
    ({"smoke_instances": 10_001}, "smoke_instances"),
    ({"smoke_accuracy_floor": 2}, "smoke_accuracy_floor"),
    ({"smoke_p99_ms": 0}, "smoke_p99_ms"),
    ({"significance": 1.5}, "significance"),
    ({"significance": "low"}, "significance"),
    ({"best_parameters": [1]}, "best_parameters"),
    ({"best_parameters": {"learning_rate": math.nan}}, "best_parameters[learning_rate]"),
    ({"best_parameters": {"two words": 1}}, "best_parameters[two words]"),
    ({"retune_every": -1}, "retune_every"),
    ({"retune_every": 2.5}, "retune_every"),
    ({"retune_accuracy_drop": -0.1}, "retune_accuracy_drop"),
    ({"retune_drift": -1}, "retune_drift"),
    ({"retune_input_drift": 1.5}, "retune_input_drift"),
    ({"log_payloads": "/payloads"}, "log_payloads"),
    ({"log_payloads": "../payloads"}, "log_payloads"),
    ({"log_payloads": "s3://bucket/payloads"}, "log_payloads"),
    ({"log_payloads": "payloads", "serving_runtime": "tensorflow"}, "log_payloads"),
    ({"keep_models": 1}, "keep_models"),
    ({"keep_runs": 0}, "keep_runs"),
    ({"keep_runs": True}, "keep_runs"),
]


def test_there_are_a_hundred() -> None:
    assert len(BAD) >= 100


@pytest.mark.parametrize(("values", "named"), BAD, ids=[json.dumps(values) for values, _ in BAD])
def test_bad_value_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        translation.judge(Parameters.complete(values))
    assert named in refused.value.what
    assert refused.value.remedy.startswith("give ")


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("epochs=many", "epochs"),
        ("epochs=1.5", "epochs"),
        ("epochs=true", "epochs"),
        ("accuracy_floor=high", "accuracy_floor"),
        ("early_stopping=maybe", "early_stopping"),
        ("search_space=x", "search_space"),
        ("search_space=[1]", "search_space"),
        ("trainer_command=python", "trainer_command"),
        ("epoch=3", "--set"),
        ("nonsense", "--set"),
    ],
)
def test_bad_text_on_the_command_line_is_refused_by_name(assignment: str, named: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        read_values(PIPELINE, [assignment])
    assert refused.value.name == named


def test_unknown_parameter_is_told_what_was_meant() -> None:
    with pytest.raises(InvalidParameter, match=r"'--set' cannot be 'epoch'(.|\n)*epochs"):
        read_values(PIPELINE, ["epoch=3"])


def test_trainers_argument_is_told_where_it_belongs() -> None:
    """Nothing that only looks a little like it is offered in its place."""
    with pytest.raises(InvalidParameter) as refused:
        read_values(PIPELINE, ["learning_rate=1"])
    assert 'trainer_arguments={"learning_rate": …}' in str(refused.value)


def test_texts_are_read_by_their_declared_types() -> None:
    texts = ["epochs=3", "accuracy_floor=1", "early_stopping=True", 'trainer_arguments={"a": 1}', "objective_goal=0.9"]
    assert read_values(PIPELINE, texts) == {
        "epochs": 3, "accuracy_floor": 1.0, "early_stopping": True, "trainer_arguments": {"a": 1},
        "objective_goal": "0.9",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["train_and_serve", "retrain"])
def test_pipeline_declares_what_the_parameters_are(name: str) -> None:
    """The pipelines' signatures, which KFP reads, and the class that judges must never drift apart."""
    pipeline = getattr(importlib.import_module(f"pipelines.{name}"), name)
    declared = inspect.signature(pipeline.pipeline_func).parameters
    images = {"trainer_image", "serving_image"}
    assert list(declared) == names(name)
    for name, parameter in declared.items():
        if name not in images:
            assert _plain(TABLE[name].default) == parameter.default, name


@pytest.mark.parametrize("name", ["train_and_serve", "retrain"])
def test_every_parameter_is_described_in_the_compiled_pipeline(name: str) -> None:
    root = next(yaml.safe_load_all(PIPELINE.with_stem(name).read_text()))["root"]
    described = {n for n, entry in root["inputDefinitions"]["parameters"].items() if entry.get("description")}
    assert described == set(names(name))


@pytest.mark.parametrize("name", list(TABLE))
def test_reading_a_parameter_that_a_step_was_not_given_raises(name: str) -> None:
    others = {each: entry.default for each, entry in TABLE.items() if each != name}
    given = Parameters(**others)
    with pytest.raises(AttributeError, match=f"{name!r} was not given"):
        getattr(given, name)
    assert all(getattr(given, each) == default for each, default in others.items())


COMPONENTS = ("check", "load_data", "plan", "tune", "train", "decide", "deploy", "predict")


@pytest.mark.parametrize("name", COMPONENTS)
def test_component_takes_parameters_by_the_tables_types_and_defaults(name: str) -> None:
    component = getattr(importlib.import_module(f"components.{name}"), name)
    taken = inspect.signature(component.python_func).parameters
    shared = {each: parameter for each, parameter in taken.items() if each in TABLE}
    assert shared or name == "plan"  # which reads them where check has kept them
    for each, parameter in shared.items():
        assert parameter.annotation is TABLE[each].type, each
        assert parameter.default in (inspect.Parameter.empty, TABLE[each].default), each
    assert name != "check" or list(shared) == list(TABLE)


def test_whole_numbers_that_kfp_made_floats_are_whole_again() -> None:
    (d, k) = read_space(
        {"k": {"type": "int", "min": 1.0, "max": 4.0}, "d": {"type": "discrete", "values": [32.0, 64.0]}}
    )
    assert k.grid == (1, 2, 3, 4)
    assert d.values == (32, 64)
    assert all(isinstance(value, int) for value in d.values)


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        ({}, 16),
        ({"trainer_arguments": {"preset": "accurate"}}, 28),
        ({"trainer_arguments": {"model": "mlp"}}, 16),
        ({"trainer_arguments": {"preset": "accurate"}, "epochs": 3}, 3),
        ({"trainer_command": ["python", "own.py"]}, 14),
    ],
)
def test_epochs_are_the_presets_unless_given(given: dict[str, Any], epochs: int) -> None:
    assert translation.train_spec(Parameters.complete(given), "run-1", "/", {}).epochs == epochs


def test_placing_the_training_does_not_place_the_service() -> None:
    placed = {"node_selector": {"gpu": "a100"}, "tolerations": [{"key": "gpu"}], "gpus": 1, "cpu": "16"}
    parameters = Parameters.complete(placed)
    assert translation.train_spec(parameters, "run-1", "/", {}).compute.node_selector == {"gpu": "a100"}
    compute = translation.serve_spec(parameters, "run-1", ModelRef("/")).compute
    assert (dict(compute.node_selector), compute.tolerations, compute.gpus, compute.cpu) == ({}, (), 0, "1")


def test_the_service_has_a_place_of_its_own() -> None:
    given = {"serving_node_selector": {"pool": "cpu"}, "serving_tolerations": [{"key": "pool"}], "serving_gpus": 2}
    parameters = Parameters.complete({**given, "serving_memory": "8Gi", "gpu_resource": "amd.com/gpu"})
    compute = translation.serve_spec(parameters, "run-1", ModelRef("/")).compute
    assert (dict(compute.node_selector), compute.tolerations) == ({"pool": "cpu"}, ({"key": "pool"},))
    assert (compute.gpus, compute.gpu_resource, compute.memory) == (2, "amd.com/gpu", "8Gi")


def test_seconds_of_a_toleration_are_whole_again() -> None:
    toleration = {"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300.0}
    made = translation.tune_spec(Parameters.complete({"tolerations": [toleration]}), "run", "/").compute.tolerations
    assert made == ({**toleration, "tolerationSeconds": 300},)
    assert isinstance(made[0]["tolerationSeconds"], int)


@pytest.mark.parametrize(
    ("last", "step", "values"), [(0.3, 0.1, (0, 0.1, 0.2, 0.3)), (1, 0.4, (0, 0.4, 0.8)), (0.05, 0.1, (0,))]
)
def test_points_of_a_grid_are_what_was_written(last: float, step: float, values: tuple[float, ...]) -> None:
    (x,) = read_space({"x": {"type": "double", "min": 0.0, "max": last, "step": step}})
    assert x.grid == values


def test_more_parallel_or_failed_than_trials_counts_as_all() -> None:
    spec = translation.tune_spec(
        Parameters.complete({"max_trials": 2, "parallel_trials": 9, "max_failed_trials": 9}), "run", "/data"
    )
    assert (spec.parallel_trials, spec.max_failed_trials) == (2, 2)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return (
        {key: dict(item) if hasattr(item, "items") else item for key, item in value.items()}
        if hasattr(value, "items")
        else value
    )
