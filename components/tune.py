"""Tune: search for hyper-parameters, with a Katib Experiment on a cluster and with Optuna on a machine."""

from typing import NamedTuple

from kfp import dsl

from components import component


@component
def tune(
    run_id: str,
    data_path: str,
    claim: str,
    trainer_image: str,
    trainer_command: list,
    trainer_arguments: dict,
    trial_arguments: dict,
    search_space: dict,
    algorithm: str,
    algorithm_settings: dict,
    objective_metric: str,
    objective_type: str,
    objective_goal: str,
    max_trials: int,
    parallel_trials: int,
    max_failed_trials: int,
    trial_epochs: int,
    trial_workers: int,
    early_stopping: bool,
    early_stopping_settings: dict,
    tuner: str,
    training_backend: str,
    tune_timeout: int,
    cpu: str,
    memory: str,
    gpus: int,
    gpu_resource: str,
    shared_memory: str,
    priority_class: str,
    node_selector: dict,
    tolerations: list,
    image_pull_secret: str,
    queue: str,
    gang_scheduling: bool,
    metrics: dsl.Output[dsl.Metrics],
    trials: dsl.Output[dsl.HTML],
) -> NamedTuple("Outputs", [("best_parameters", dict), ("best_value", float)]):
    """Search for the hyper-parameters that make the objective best.

    Args:
        run_id: The run's id.
        data_path: Folder of the verified data set.
        metrics: The best trial's objective.
        trials: Every trial, in tables and plots.

    Returns:
        best_parameters: The best trial's hyper-parameters.
        best_value: The objective's value in that trial.
    """
    given = dict(locals())
    from typing import NamedTuple

    from hyperflow.parameters import Parameters
    from hyperflow.steps import begin, tune

    with begin("tune", run_id) as step:
        result = tune.run(step, Parameters.among(given), data_path, trials.path)
    metrics.log_metric(objective_metric, result.best.value)
    metrics.log_metric("trials", len(result.trials))
    metrics.metadata["location"] = result.location
    outputs = NamedTuple("outputs", [("best_parameters", dict), ("best_value", float)])
    assert result.best.value is not None, "the best trial is one with a value"
    return outputs(dict(result.best.parameters), result.best.value)
