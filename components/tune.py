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
    tune_timeout: int,
    cpu: str,
    memory: str,
    gpus: int,
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
        claim: The ReadWriteMany volume claim that every step and job mounts.
        trainer_image: Image of the program that trials and training run.
        trainer_command: Its command; it gets --data-path, --epochs, one --name=value each and --model-path.
        trainer_arguments: Further arguments, {"name": value}, of every trial and of the training.
        trial_arguments: Further arguments of trials only, which may train on a part of the data.
        search_space: What to tune: {"name": {"type": "double|int|discrete|categorical", "min": 0, "max": 1, "step": 0,
            "values": [], "distribution": "uniform|logUniform"}}.
        algorithm: random, grid, tpe, multivariate-tpe, cmaes, sobol or hyperband.
        algorithm_settings: The algorithm's settings in Katib's names, {"random_state": "1"}.
        objective_metric: The metric that trials are compared by, as the trainer prints it.
        objective_type: maximize or minimize.
        objective_goal: The value at which to stop searching; empty for none.
        max_trials: Trials to finish.
        parallel_trials: Trials at one time.
        max_failed_trials: Failed trials at which the search fails.
        trial_epochs: Epochs of a trial.
        trial_workers: Processes of a trial; more than one makes each trial a TFJob.
        early_stopping: Whether to stop trials that do worse than the others did (medianstop).
        early_stopping_settings: min_trials_required and start_step.
        tune_timeout: Seconds for the whole search.
        cpu: Cores of each trial, worker and replica.
        memory: Memory of each trial, worker and replica.
        gpus: GPUs of each trial and worker.
        node_selector: Labels that nodes must have, {"label": "value"}.
        tolerations: Kubernetes tolerations of trials, workers and replicas.
        image_pull_secret: Secret to pull the trainer's and predictor's images with; empty for none.
        queue: Queue of Kueue or Volcano; empty for none.
        gang_scheduling: Whether a training's pods start all at once or not at all.
        metrics: The best trial's objective.
        trials: Every trial, in tables and plots.

    Returns:
        best_parameters: The best trial's hyper-parameters.
        best_value: The objective's value in that trial.
    """
    given = {
        name: value for name, value in locals().items() if name not in ("run_id", "data_path", "metrics", "trials")
    }
    from typing import NamedTuple

    from hyperflow import steps
    from hyperflow.parameters import Parameters

    with steps.step("tune", run_id) as step:
        result = steps.tune(step, Parameters(**given), data_path, trials.path)
    metrics.log_metric(objective_metric, result.best.value)
    metrics.log_metric("trials", len(result.trials))
    metrics.metadata["location"] = result.location
    outputs = NamedTuple("Outputs", [("best_parameters", dict), ("best_value", float)])
    return outputs(dict(result.best.parameters), result.best.value)
