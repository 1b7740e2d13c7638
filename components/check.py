"""Refuse bad parameters, and surroundings that cannot do the work, before anything is made."""

from components import component


@component
def check(
    run_id: str,
    data_source: str,
    dataset: str,
    claim: str,
    model_name: str,
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
    epochs: int,
    workers: int,
    parameter_servers: int,
    evaluator: bool,
    train_retries: int,
    train_timeout: int,
    cpu: str,
    memory: str,
    gpus: int,
    node_selector: dict,
    tolerations: list,
    image_pull_secret: str,
    queue: str,
    gang_scheduling: bool,
    accuracy_floor: float,
    significance: float,
    force: bool,
    turn_timeout: int,
    serving_runtime: str,
    serving_image: str,
    min_replicas: int,
    max_replicas: int,
    canary_percent: int,
    deploy_timeout: int,
    smoke_instances: int,
    smoke_accuracy_floor: float,
    smoke_p99_ms: float,
    best_parameters: dict = {},
    retune_every: int = 0,
    retune_accuracy_drop: float = 0.0,
    retune_drift: float = 0.0,
    keep_models: int = 2,
    keep_runs: int = 1,
) -> str:
    """Judge every parameter of the run, and the namespace or machine that it would work in.

    Takes all parameters of the pipeline, which describes them, and the run's id; those that have a default are the
    recurring pipeline's alone.

    Returns:
        A line that says all is well.
    """
    given = {name: value for name, value in locals().items() if name != "run_id"}
    from hyperflow import steps
    from hyperflow.parameters import Parameters

    with steps.step("check", run_id) as step:
        steps.check(step, Parameters(**given))
    return "every parameter can work"
